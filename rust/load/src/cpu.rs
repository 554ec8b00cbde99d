//! Receives a process id · hands out the processor time of that process · owns nothing.

use std::io;
use std::time::Duration;

/// User and system time that all threads of a process have used, ended ones included, to the nanosecond: a
/// process that runs right now is counted up to now, where `/proc/<pid>/stat` counts ticks of 10 ms.
#[cfg(target_os = "linux")]
pub fn processor_time(process: u32) -> io::Result<Duration> {
    let mut clock: libc::clockid_t = 0;
    // SAFETY: the call writes one clockid_t, to a place that outlives it.
    let error = unsafe { libc::clock_getcpuclockid(process.cast_signed(), &raw mut clock) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    read(clock)
}

/// User and system time of the calling thread.
#[cfg(target_os = "linux")]
pub(crate) fn thread_time() -> io::Result<Duration> {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

#[cfg(target_os = "linux")]
fn read(clock: libc::clockid_t) -> io::Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one timespec, to a place that outlives it.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec.cast_unsigned() as u32))
}

/// Other systems are not asked.
#[cfg(not(target_os = "linux"))]
pub(crate) fn thread_time() -> io::Result<Duration> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "processor time of a thread is read on Linux only"))
}

/// Other systems have no such clock.
#[cfg(not(target_os = "linux"))]
pub fn processor_time(_process: u32) -> io::Result<Duration> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "processor time of a process is read on Linux only"))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn it_grows_with_work_and_a_process_that_is_not_there_is_an_error() {
        let process = std::process::id();
        let before = processor_time(process).unwrap();
        let mut sum = 0_u64;
        while processor_time(process).unwrap() < before + Duration::from_millis(2) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(sum > 0);
        assert!(thread_time().unwrap() <= processor_time(process).unwrap());
        assert!(processor_time(1 << 23).is_err());
    }
}

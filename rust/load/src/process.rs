//! Receives a process id · hands out what memory and how many descriptors that process has, and what the kernel holds
//! in sockets · owns nothing.

use std::fs;
use std::io;

/// Resident memory in bytes.
pub(crate) fn resident_bytes(process: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|text| text.parse().ok());
    let missing = || io::Error::new(io::ErrorKind::InvalidData, "no VmRSS in /proc");
    kibibytes.map(|kibibytes: u64| kibibytes * 1024).ok_or_else(missing)
}

/// Resident memory in MiB.
#[expect(clippy::cast_precision_loss, reason = "no process has 2^52 bytes")]
pub(crate) fn resident(process: u32) -> io::Result<f64> {
    Ok(resident_bytes(process)? as f64 / f64::from(1 << 20))
}

/// Bytes that the kernel holds in the TCP sockets of this network namespace, both ends of each connection.
pub(crate) fn kernel_socket_bytes() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/net/sockstat")?;
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:"));
    let pages = line.and_then(|line| line.split_whitespace().skip_while(|word| *word != "mem").nth(1));
    let missing = || io::Error::new(io::ErrorKind::InvalidData, "no TCP memory in /proc/net/sockstat");
    pages.and_then(|pages| pages.parse().ok()).map(|pages: u64| pages * PAGE).ok_or_else(missing)
}

/// What the kernel counts in here, on every machine that this is built for.
const PAGE: u64 = 4096;

/// Open file descriptors.
pub(crate) fn descriptors(process: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{process}/fd"))?.count())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn it_tells_of_this_process() {
        let process = std::process::id();
        assert!(resident(process).unwrap() > 1.0);
        assert!(descriptors(process).unwrap() >= 3);
        assert!(resident(1 << 23).is_err());
        assert!(kernel_socket_bytes().unwrap().is_multiple_of(PAGE));
    }
}

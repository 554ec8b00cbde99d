//! Receives a process id · hands out what memory and how many descriptors that process has · owns nothing.

use std::fs;
use std::io;

/// Resident memory in MiB.
pub(crate) fn resident(process: u32) -> io::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|text| text.parse().ok());
    let missing = || io::Error::new(io::ErrorKind::InvalidData, "no VmRSS in /proc");
    kibibytes.map(|kibibytes: f64| kibibytes / 1024.0).ok_or_else(missing)
}

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
    }
}

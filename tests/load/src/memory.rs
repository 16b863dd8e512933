//! How much memory this process has taken, server and callers together: what the kernel counts (Linux).

use anyhow::Context as _;

/// What clears the kernel's mark of the most memory (`proc(5)`, `clear_refs`).
const CLEAR_PEAK: &str = "5";

/// Forgets the most that was taken so far.
pub(crate) fn forget_peak() -> anyhow::Result<()> {
    std::fs::write("/proc/self/clear_refs", CLEAR_PEAK).context("the kernel keeps no peak of memory")
}

/// The most that was taken since the peak was forgotten, in MB.
pub(crate) fn peak_mb() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    peak_of(&status).context("the kernel tells no peak of memory")
}

fn peak_of(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes / 1_024.0)
}

#[cfg(test)]
mod tests {
    use super::peak_of;

    #[test]
    fn the_peak_is_read_from_its_line() {
        assert_eq!(peak_of("VmPeak:\t 999 kB\nVmHWM:\t  204800 kB\nVmRSS:\t 1 kB\n"), Some(200.0));
        assert_eq!(peak_of("VmRSS:\t 1 kB\n"), None);
    }
}

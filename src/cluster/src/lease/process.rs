//! Which process holds a Lease, so that the next run on the same machine recognises a killed one at once. Linux only:
//! elsewhere a Lease has to expire.

use std::path::Path;

/// This process: boot, PID namespace, PID and start time, which no other process ever has all of.
pub(super) fn mark() -> Option<String> {
    let pid = std::process::id().to_string();
    Some([place()?, pid.clone(), started(&pid)?].join("/"))
}

/// Whether that process ran on this machine and has ended. What ran elsewhere cannot be judged.
pub(super) fn is_dead(mark: &str) -> bool {
    let mut parts = mark.rsplitn(3, '/');
    let (Some(start), Some(pid), Some(there)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let is_here = place().is_some_and(|here| here == there);
    // With the mount option hidepid the processes of others look as if they were not there; so would the first one.
    let sees_all = Path::new("/proc/1/stat").exists();
    is_here && sees_all && pid.bytes().all(|b| b.is_ascii_digit()) && started(pid).is_none_or(|now| now != start)
}

/// The boot and the PID namespace: within both a PID means one process at a time.
fn place() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{}/{}", boot.trim(), namespace.display()))
}

/// When a process started, in clock ticks since boot (proc(5): field 22 of `stat`); none if there is none, or only its
/// corpse.
fn started(pid: &str) -> Option<String> {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).ok()?;
    // The name in parentheses may hold anything, even spaces and parentheses.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18).map(str::to_owned)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_an_ended_one_does_not() {
        let mark = mark().expect("a mark");
        assert!(!is_dead(&mark), "{mark}");
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("a process");
        let pid = child.id().to_string();
        let theirs = format!(
            "{}/{pid}/{}",
            place().expect("a place"),
            started(&pid).expect("started")
        );
        assert!(!is_dead(&theirs), "{theirs}");
        child.kill().expect("killed");
        child.wait().expect("ended");
        assert!(is_dead(&theirs), "{theirs}");
    }

    #[test]
    fn another_start_time_is_another_process() {
        let mark = mark().expect("a mark");
        let (before, _) = mark.rsplit_once('/').expect("a start time");
        assert!(is_dead(&format!("{before}/1")), "the PID was used again");
    }

    #[test]
    fn a_process_elsewhere_cannot_be_judged() {
        for mark in ["", "x", "other-boot/pid:[1]/1/1", "a/b"] {
            assert!(!is_dead(mark), "{mark:?}");
        }
    }
}

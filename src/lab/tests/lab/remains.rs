//! What a lab leaves behind: processes, namespaces and sockets, found in `/proc`.

use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

/// A process and its namespaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    pub pid: u32,
    parent: u32,
    title: String,
    namespaces: BTreeSet<String>,
}

/// Everything of a lab that could stay.
#[derive(Clone, Debug, Default)]
pub struct Belongings {
    pub processes: BTreeSet<Process>,
    namespaces: BTreeSet<String>,
    sockets: BTreeSet<(String, String)>,
}

/// Every process but zombies, which hold nothing and wait for a parent that is not ours.
fn processes() -> Vec<Process> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        if matches!(fields.next(), Some("Z" | "X")) {
            return None;
        }
        let parent = fields.next()?.parse().ok()?;
        let title = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let kinds = ["net", "pid", "mnt", "user", "uts"];
        let own = kinds
            .iter()
            .filter_map(|kind| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok());
        let own = own.map(|link| link.to_string_lossy().into_owned());
        let held = descriptors(pid).into_iter().filter(|link| link.starts_with("net:["));
        let namespaces = own.chain(held).collect();
        Some(Process {
            pid,
            parent,
            title: String::from_utf8_lossy(&title).replace('\0', " "),
            namespaces,
        })
    })
    .collect()
}

/// What a process's descriptors lead to.
fn descriptors(pid: u32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let links = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    links.map(|link| link.to_string_lossy().into_owned()).collect()
}

/// Abstract sockets of labs: inode and name.
fn sockets() -> BTreeSet<(String, String)> {
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let sockets = table.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        Some((format!("socket:[{}]", fields.get(6)?), (*fields.get(7)?).to_owned()))
    });
    sockets.filter(|(_, name)| name.starts_with("@meshproof-lab")).collect()
}

impl Belongings {
    /// What the descendants of a process have that this process has not.
    pub fn of(ancestor: u32) -> Self {
        let all = processes();
        let mut family = BTreeSet::from([ancestor]);
        while all.iter().any(|p| family.contains(&p.parent) && family.insert(p.pid)) {}
        family.remove(&std::process::id());
        let own = all.iter().find(|p| p.pid == std::process::id());
        let own = own.map(|p| p.namespaces.clone()).unwrap_or_default();
        let processes: BTreeSet<_> = all.into_iter().filter(|p| family.contains(&p.pid)).collect();
        let namespaces = processes
            .iter()
            .flat_map(|p| p.namespaces.difference(&own).cloned())
            .collect();
        // Other labs may run on this machine: only what these processes hold is theirs.
        let held: BTreeSet<_> = processes.iter().flat_map(|p| descriptors(p.pid)).collect();
        let sockets = sockets()
            .into_iter()
            .filter(|(inode, _)| held.contains(inode))
            .collect();
        Self {
            processes,
            namespaces,
            sockets,
        }
    }

    /// How many control sockets there are.
    pub fn sockets(&self) -> usize {
        self.sockets.len()
    }

    /// How many namespaces there are beyond this process's own.
    pub fn namespaces(&self) -> usize {
        self.namespaces.len()
    }

    /// Processes whose title has this word.
    pub fn titled<'a>(&'a self, word: &'a str) -> impl Iterator<Item = &'a Process> {
        self.processes
            .iter()
            .filter(move |process| process.title.contains(word))
    }

    /// Fails unless all of it is gone within two seconds.
    pub fn must_be_gone(&self) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let now = processes();
            let alive: Vec<_> = now
                .iter()
                .filter(|p| {
                    self.processes
                        .iter()
                        .any(|q| q.pid == p.pid && q.title == p.title && !p.title.is_empty())
                })
                .collect();
            let held: Vec<_> = now
                .iter()
                .filter(|p| !p.namespaces.is_disjoint(&self.namespaces))
                .collect();
            let listening: Vec<_> = self.sockets.intersection(&sockets()).cloned().collect();
            if alive.is_empty() && held.is_empty() && listening.is_empty() {
                return Ok(());
            }
            if begun.elapsed() > Duration::from_secs(2) {
                return Err(format!(
                    "after 2 s there still are processes {alive:?}, holders of namespaces {held:?}, sockets \
                     {listening:?}"
                ));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

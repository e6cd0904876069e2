//! The text of `cilium-dbg troubleshoot clustermesh` and `clustermesh-apiserver kvstoremesh-dbg troubleshoot`, which
//! have no other format (Cilium 1.16 to 1.19).

use jiff::Timestamp;

/// What it says of the connection to one cluster's etcd.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// The cluster's name in the mesh.
    pub cluster: String,
    /// Steps that failed, in its words.
    pub failures: Vec<String>,
    /// Whether a TLS connection was made.
    pub tls: bool,
    /// The certificates in use.
    pub certificates: Vec<Certificate>,
}

/// A certificate in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// `CN=remote-infra`.
    pub subject: String,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
}

/// The sections of an output, one a cluster. Lines that are not known are passed over.
pub fn sections(text: &str) -> Vec<Section> {
    let mut found: Vec<Section> = Vec::new();
    let (mut subject, mut not_before) = (None, None);
    for line in text.lines().map(str::trim) {
        if let Some(cluster) = heading(line) {
            found.push(Section {
                cluster: cluster.to_owned(),
                ..Section::default()
            });
            continue;
        }
        let Some(section) = found.last_mut() else { continue };
        if let Some(failure) = line.strip_prefix('❌') {
            section.failures.push(failure.trim().to_owned());
        } else if line.starts_with("✅ TLS connection") {
            section.tls = true;
        } else if let Some(name) = line.strip_prefix("Subject:") {
            subject = Some(name.trim().to_owned());
        } else if let Some(time) = line.strip_prefix("Not before:") {
            not_before = timestamp(time);
        } else if let Some(time) = line.strip_prefix("Not after:")
            && let (Some(subject), Some(not_before), Some(not_after)) =
                (subject.take(), not_before.take(), timestamp(time))
        {
            section.certificates.push(Certificate {
                subject,
                not_before,
                not_after,
            });
        }
    }
    found
}

/// `Cluster "apps":`; `Remote cluster "apps":` before 1.17.
fn heading(line: &str) -> Option<&str> {
    let name = ["Cluster \"", "Remote cluster \""];
    name.iter()
        .find_map(|start| line.strip_prefix(start)?.strip_suffix("\":"))
}

/// `2027-11-21 09:13:23 +0000 UTC`, as Go prints times.
fn timestamp(text: &str) -> Option<Timestamp> {
    let text = text.trim().strip_suffix(" UTC")?;
    jiff::fmt::strtime::parse("%Y-%m-%d %H:%M:%S %z", text)
        .ok()?
        .to_timestamp()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDED: &str = include_str!("../../testdata/troubleshoot-clustermesh.txt");

    #[test]
    fn the_recorded_output_is_read() {
        let all = sections(RECORDED);
        assert_eq!(all.len(), 1);
        assert_eq!(
            (all[0].cluster.as_str(), all[0].tls, all[0].failures.len()),
            ("apps", true, 0)
        );
        let ends: Vec<_> = all[0]
            .certificates
            .iter()
            .map(|c| (c.subject.as_str(), c.not_after.to_string()))
            .collect();
        assert_eq!(
            ends,
            [
                ("CN=Cilium CA", "2027-11-21T09:13:23Z".to_owned()),
                ("CN=local-infra", "2029-11-20T09:14:23Z".to_owned())
            ]
        );
    }

    #[test]
    fn failures_keep_its_own_words() {
        let text = "Remote cluster \"apps\":\n   - https://apps.mesh.cilium.io:2379\n     ❌ Cannot establish TCP \
                    connection to 10.0.0.1:2379: i/o timeout\n";
        let all = sections(text);
        assert_eq!(
            all[0].failures,
            ["Cannot establish TCP connection to 10.0.0.1:2379: i/o timeout"]
        );
        assert!(!all[0].tls && all[0].certificates.is_empty());
        assert_eq!(sections("command not found"), []);
    }
}

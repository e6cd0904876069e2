//! kubeconfig files, read one by one so that an error can name the file and the line.

use super::{ContextError, Role, proxy::EnvironmentProxies};
use crate::api::{chain, one_line};
use kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError};
use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

/// The context for the service account of the pod that meshproof runs in, unless a kubeconfig has a context of that
/// name.
pub const IN_CLUSTER: &str = "in-cluster";

/// The merged files and their names.
pub(super) struct Files {
    merged: Kubeconfig,
    read: Vec<String>,
    looked_at: Vec<String>,
}

impl Files {
    /// Reads the file given, or those of `KUBECONFIG`, or `~/.kube/config`. As for kubectl, one of a list may be
    /// absent.
    pub(super) fn read(given: Option<PathBuf>) -> Result<Self, ContextError> {
        match given {
            Some(path) => Self::merge(vec![path], Absent::IsAnError),
            None => Self::merge(
                paths(std::env::var_os("KUBECONFIG"), std::env::home_dir()),
                Absent::IsPassedOver,
            ),
        }
    }

    fn merge(paths: Vec<PathBuf>, absent: Absent) -> Result<Self, ContextError> {
        let mut files = Files {
            merged: Kubeconfig::default(),
            read: Vec::new(),
            looked_at: paths.iter().map(|p| p.display().to_string()).collect(),
        };
        for path in paths {
            let Some(one) = read_one(&path, absent)? else {
                continue;
            };
            files.read.push(path.display().to_string());
            files.merged = std::mem::take(&mut files.merged)
                .merge(one)
                .map_err(|e| ContextError::Malformed {
                    path: path.display().to_string(),
                    line: 0,
                    column: 0,
                    reason: e.to_string(),
                })?;
        }
        Ok(files)
    }

    /// The configuration of a role's context.
    pub(super) async fn config(&self, role: &Role) -> Result<Config, ContextError> {
        let unusable = |reason: String| ContextError::Unusable {
            cluster: role.cluster.clone(),
            context: role.context.clone(),
            reason,
        };
        let present: Vec<String> = self.merged.contexts.iter().map(|c| c.name.clone()).collect();
        if !present.contains(&role.context) {
            if role.context == IN_CLUSTER {
                return Config::incluster().map_err(|e| unusable(chain(&e)));
            }
            if self.read.is_empty() {
                return Err(ContextError::NoKubeconfig(self.looked_at.clone()));
            }
            return Err(ContextError::NotFound {
                cluster: role.cluster.clone(),
                context: role.context.clone(),
                present,
                files: self.read.clone(),
            });
        }
        let options = KubeConfigOptions {
            context: Some(role.context.clone()),
            ..KubeConfigOptions::default()
        };
        let mut config = Config::from_custom_kubeconfig(self.merged.clone(), &options)
            .await
            .map_err(|e| unusable(chain(&e)))?;
        // The kube crate compares NO_PROXY with the address of the proxy, so the proxy is chosen here: that of the
        // kubeconfig for whatever server, or else one of the environment.
        let proxy = match self.proxy(&role.context) {
            Some(proxy) => Some(proxy),
            None => {
                let (scheme, host) = (config.cluster_url.scheme_str(), config.cluster_url.host());
                let (scheme, host) = (scheme.unwrap_or("https"), host.unwrap_or_default());
                let port = config.cluster_url.port_u16();
                let port = port.unwrap_or(if scheme == "http" { 80 } else { 443 });
                EnvironmentProxies::read().to_server(scheme, host, port)
            }
        };
        config.proxy_url = match proxy {
            Some(proxy) => {
                let parsed = proxy.parse();
                Some(parsed.map_err(|error| unusable(format!("invalid proxy {proxy:?}: {error}")))?)
            }
            None => None,
        };
        Ok(config)
    }

    /// The proxy that the kubeconfig names for the context's cluster.
    fn proxy(&self, context: &str) -> Option<String> {
        let named = self.merged.contexts.iter().find(|c| c.name == context);
        let cluster = named.and_then(|c| c.context.as_ref()).map(|c| &c.cluster);
        self.merged
            .clusters
            .iter()
            .filter(|c| Some(&c.name) == cluster)
            .filter_map(|c| c.cluster.as_ref())
            .find_map(|c| c.proxy_url.clone().filter(|url| !url.is_empty()))
    }
}

/// What an absent file means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absent {
    IsAnError,
    IsPassedOver,
}

/// The files of a list as in `KUBECONFIG`, or the one in the home directory.
fn paths(list: Option<OsString>, home: Option<PathBuf>) -> Vec<PathBuf> {
    let listed = list.iter().flat_map(std::env::split_paths);
    let listed: Vec<PathBuf> = listed.filter(|p| !p.as_os_str().is_empty()).collect();
    if listed.is_empty() {
        home.map(|home| home.join(".kube").join("config")).into_iter().collect()
    } else {
        listed
    }
}

fn read_one(path: &Path, absent: Absent) -> Result<Option<Kubeconfig>, ContextError> {
    let name = path.display().to_string();
    // kube reads UTF-16 in pairs of bytes, and panics when one is missing.
    if std::fs::read(path).is_ok_and(|bytes| is_utf16(&bytes) && bytes.len() % 2 != 0) {
        return Err(ContextError::Malformed {
            path: name,
            line: 0,
            column: 0,
            reason: "the UTF-16 text ends inside a character".to_owned(),
        });
    }
    match Kubeconfig::read_from(path) {
        Ok(config) => Ok(Some(config)),
        Err(KubeconfigError::ReadConfig(e, _))
            if e.kind() == io::ErrorKind::NotFound && absent == Absent::IsPassedOver =>
        {
            Ok(None)
        }
        Err(KubeconfigError::ReadConfig(source, _)) => Err(ContextError::Unreadable { path: name, source }),
        Err(KubeconfigError::Parse(error)) => {
            let at = error.location();
            let reason = error.without_snippet().to_string();
            let reason = reason.split(" at line ").next().unwrap_or(&reason);
            Err(ContextError::Malformed {
                path: name,
                line: at.map_or(0, |at| at.line()),
                column: at.map_or(0, |at| at.column()),
                reason: one_line(reason),
            })
        }
        Err(other) => Err(ContextError::Malformed {
            path: name,
            line: 0,
            column: 0,
            reason: chain(&other),
        }),
    }
}

fn is_utf16(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff])
}

/// Any bytes as a kubeconfig file: it gives configurations, or errors of one line.
///
/// # Panics
/// When an error has several lines.
pub(crate) fn fuzz(bytes: &[u8]) {
    let path = std::env::temp_dir().join(format!("meshproof-fuzz-kubeconfig-{}", std::process::id()));
    std::fs::write(&path, bytes).expect("the temporary folder takes a file");
    let one_line = |error: ContextError| assert_eq!(error.to_string().lines().count(), 1, "{error}");
    match Files::read(Some(path.clone())) {
        Err(error) => one_line(error),
        Ok(files) => {
            for context in &files.merged.contexts {
                let role = Role {
                    cluster: "infra".into(),
                    context: context.name.clone(),
                };
                if let Err(error) = futures::executor::block_on(files.config(&role)) {
                    one_line(error);
                }
            }
        }
    }
    let _ = std::fs::remove_file(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    fn role(context: &str) -> Role {
        Role {
            cluster: "infra".into(),
            context: context.into(),
        }
    }

    const GOOD: &str = "\
apiVersion: v1
kind: Config
clusters:
- {name: c, cluster: {server: 'https://127.0.0.1:1'}}
contexts:
- {name: one, context: {cluster: c}}
- {name: broken, context: {cluster: nosuch}}
";

    #[tokio::test]
    async fn an_unknown_context_is_named_with_the_known_ones_and_the_file() {
        let folder = tempfile::tempdir().expect("folder");
        let path = write(&folder, "config", GOOD);
        let files = Files::read(Some(path.clone())).expect("reads");
        let error = files.config(&role("nosuch")).await.expect_err("unknown").to_string();
        assert_eq!(
            error,
            format!(
                "cluster infra: no context \"nosuch\" in {}; known contexts: one, broken",
                path.display()
            )
        );
        assert!(files.config(&role("one")).await.is_ok());
        let error = files
            .config(&role("broken"))
            .await
            .expect_err("no such cluster")
            .to_string();
        assert!(error.contains("nosuch"), "{error}");
    }

    #[test]
    fn malformed_yaml_is_reported_with_file_line_and_column() {
        let folder = tempfile::tempdir().expect("folder");
        let path = write(&folder, "config", "apiVersion: v1\nclusters: [\ncontexts: {\n");
        let error = Files::read(Some(path.clone())).err().expect("malformed");
        let text = error.to_string();
        assert!(
            matches!(
                error,
                ContextError::Malformed {
                    line: 1..,
                    column: 1..,
                    ..
                }
            ),
            "{error:?}"
        );
        assert!(text.starts_with(&path.display().to_string()), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }

    #[tokio::test]
    async fn the_files_of_a_list_are_one_kubeconfig_and_may_be_absent() {
        let folder = tempfile::tempdir().expect("folder");
        let first = write(&folder, "first", GOOD);
        let second = write(&folder, "second", &GOOD.replace("one", "two"));
        let list = std::env::join_paths([first, folder.path().join("absent"), second]).expect("a list");
        let files = Files::merge(paths(Some(list), None), Absent::IsPassedOver).expect("reads");
        for context in ["one", "two"] {
            assert!(files.config(&role(context)).await.is_ok(), "{context} is there");
        }
        let home = paths(Some(OsString::new()), Some("/home/alice".into()));
        assert_eq!(home, [PathBuf::from("/home/alice/.kube/config")]);
    }

    #[tokio::test]
    async fn without_any_file_it_says_where_it_looked() {
        let files = Files::merge(vec!["/nonexistent/config".into()], Absent::IsPassedOver).expect("nothing read");
        let error = files.config(&role("infra")).await.expect_err("nothing").to_string();
        assert!(
            error.contains("/nonexistent/config") && error.contains("--lab"),
            "{error}"
        );
        let error = files
            .config(&role(IN_CLUSTER))
            .await
            .expect_err("not in a pod")
            .to_string();
        assert!(error.contains("in-cluster") && error.lines().count() == 1, "{error}");
    }

    #[test]
    fn utf16_that_ends_inside_a_character_is_malformed() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("config");
        std::fs::write(&path, b"\xff\xfea").expect("written");
        let error = Files::read(Some(path)).err().expect("malformed").to_string();
        assert!(error.contains("UTF-16"), "{error}");
    }

    #[test]
    fn a_file_that_was_named_must_exist() {
        let error = Files::read(Some("/nonexistent/config".into())).err().expect("absent");
        assert!(error.to_string().contains("/nonexistent/config"), "{error}");
    }
}

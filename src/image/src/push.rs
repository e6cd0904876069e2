//! Pushing an image to a registry (OCI distribution-spec 1.1), with the credentials of the Docker configuration.

use crate::{Image, ImageReference, ImageSummary};
use docker_credential::{CredentialRetrievalError, DockerCredential};
use oci_client::{
    Client, Reference, RegistryOperation,
    client::{ClientConfig, ClientProtocol},
    errors::OciDistributionError,
    secrets::RegistryAuth,
};
use std::{error::Error, fs::File, io::BufReader, path::Path, time::Duration};

/// How long connecting to a registry may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a registry may be silent.
const SILENT: Duration = Duration::from_secs(60);
/// Under which name `docker login` keeps the credentials of docker.io.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// Who pushes.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nobody in particular: registries that ask nobody.
    Anonymous,
    /// A user with a password or token.
    Basic {
        /// The user's name.
        user: String,
        /// The password or token.
        password: String,
    },
}

/// How a registry is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// Encrypted, unless the registry is on this machine.
    #[default]
    Https,
    /// In clear.
    Http,
}

/// Why the credentials of a registry cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The configuration or the helper that it names fails.
    #[error("failed to get the credentials of {registry} from the Docker configuration: {source}")]
    Unreadable {
        /// The registry.
        registry: String,
        /// Why.
        source: CredentialRetrievalError,
    },
    /// An identity token, which few registries hand out.
    #[error("the Docker configuration has an identity token for {registry}, where a user and a password are needed")]
    IdentityToken {
        /// The registry.
        registry: String,
    },
}

/// Why an image was not pushed: one line with the next step.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The registry refuses.
    #[error(
        "{registry} refuses to take {reference}: {why}; run `docker login {registry}` as a user who may push there"
    )]
    Refused {
        /// The registry.
        registry: String,
        /// The image.
        reference: String,
        /// In the registry's words.
        why: String,
    },
    /// The registry does not answer as it should.
    #[error("failed to push {reference}: {why}")]
    Failed {
        /// The image.
        reference: String,
        /// The chain of causes.
        why: String,
    },
}

impl Credentials {
    /// Those of the registry in the file `configuration`, or else in `$DOCKER_CONFIG/config.json` or
    /// `~/.docker/config.json`: as `docker login` leaves them there, or from the helper that it names.
    ///
    /// # Errors
    /// The file or the helper has something that cannot be used. Without a file, or without the registry in it, the
    /// credentials are anonymous.
    pub fn find(registry: &str, configuration: Option<&Path>) -> Result<Self, CredentialsError> {
        let key = if registry == "docker.io" { DOCKER_HUB } else { registry };
        let found = match configuration {
            Some(path) => File::open(path)
                .map_err(|_| CredentialRetrievalError::ConfigNotFound)
                .and_then(|file| docker_credential::get_credential_from_reader(BufReader::new(file), key)),
            None if !has_configuration() => Err(CredentialRetrievalError::ConfigNotFound),
            None => docker_credential::get_credential(key),
        };
        match found {
            Ok(DockerCredential::UsernamePassword(user, password)) => Ok(Self::Basic { user, password }),
            Ok(DockerCredential::IdentityToken(_)) => Err(CredentialsError::IdentityToken {
                registry: registry.to_owned(),
            }),
            Err(CredentialRetrievalError::NoCredentialConfigured | CredentialRetrievalError::ConfigNotFound) => {
                Ok(Self::Anonymous)
            }
            Err(source) => Err(CredentialsError::Unreadable {
                registry: registry.to_owned(),
                source,
            }),
        }
    }
}

/// Whether the user has a Docker configuration; the library does not tell an absent file from an unreadable one.
fn has_configuration() -> bool {
    let folder = std::env::var_os("DOCKER_CONFIG").map(Into::into);
    let folder = folder.or_else(|| std::env::home_dir().map(|home| home.join(".docker")));
    folder.is_some_and(|folder| folder.join("config.json").exists())
}

impl Image {
    /// Pushes it under its own name; what the registry has already is not sent again. A TLS provider must have been
    /// installed.
    ///
    /// # Errors
    /// The registry refuses, is unreachable, or does not answer as it should.
    pub async fn push(&self, credentials: &Credentials, transport: Transport) -> Result<ImageSummary, PushError> {
        let registry = self.reference.registry().to_owned();
        let failed = |error: OciDistributionError| self.failed(error);
        let reference: Reference = self.reference.canonical().parse().expect("both follow one grammar");
        let client = Client::try_from(ClientConfig {
            protocol: protocol(&self.reference, transport),
            use_monolithic_push: true,
            connect_timeout: Some(CONNECT),
            read_timeout: Some(SILENT),
            user_agent: concat!("meshproof/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        })
        .map_err(failed)?;
        let auth = match credentials {
            Credentials::Anonymous => RegistryAuth::Anonymous,
            Credentials::Basic { user, password } => RegistryAuth::Basic(user.clone(), password.clone()),
        };
        client
            .auth(&reference, &auth, RegistryOperation::Push)
            .await
            .map_err(failed)?;
        let parts = self.contents.parts();
        for (digest, content) in &parts.blobs {
            // Whoever may push and not read is sent everything.
            if !client.blob_exists(&reference, digest).await.unwrap_or(false) {
                let pushed = client.push_blob(&reference, content.to_vec(), digest).await;
                pushed.map_err(failed)?;
            }
        }
        for manifest in parts.manifests.iter().filter(|m| m.digest != parts.root.digest) {
            let by_digest = Reference::with_digest(
                registry.clone(),
                reference.repository().to_owned(),
                manifest.digest.clone(),
            );
            self.push_manifest(&client, &by_digest, manifest).await?;
        }
        self.push_manifest(&client, &reference, &parts.root).await?;
        Ok(self.summary())
    }

    async fn push_manifest(
        &self,
        client: &Client,
        reference: &Reference,
        manifest: &crate::archive::Manifest<'_>,
    ) -> Result<(), PushError> {
        let media_type = manifest.media_type.parse().expect("a media type is a valid header");
        let pushed = client.push_manifest_raw(reference, manifest.content.to_vec(), media_type);
        pushed.await.map(drop).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: OciDistributionError) -> PushError {
        let reference = self.reference.to_string();
        let refused = |why: String| PushError::Refused {
            registry: self.reference.registry().to_owned(),
            reference: reference.clone(),
            why,
        };
        match &error {
            OciDistributionError::AuthenticationFailure(why) => refused(one_line(why)),
            OciDistributionError::UnauthorizedError { .. } => refused("not authorized".to_owned()),
            OciDistributionError::ServerError {
                code: 401 | 403,
                message,
                ..
            } => refused(one_line(message)),
            OciDistributionError::RegistryError { envelope, .. } if envelope.to_string().contains("DENIED") => {
                refused(one_line(&envelope.to_string()))
            }
            _ => PushError::Failed {
                reference,
                why: one_line(&chain(&error)),
            },
        }
    }
}

/// Docker, too, speaks to a registry on its own machine in clear.
fn protocol(reference: &ImageReference, transport: Transport) -> ClientProtocol {
    let registry = reference.registry();
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    let is_here = host == "localhost" || host.starts_with("127.");
    match transport {
        Transport::Http => ClientProtocol::Http,
        Transport::Https if is_here => ClientProtocol::Http,
        Transport::Https => ClientProtocol::Https,
    }
}

/// The error with its causes, none of them said twice.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

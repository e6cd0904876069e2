//! The portal's certificates: a good one, and one whose time is over.

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

const DAY: Duration = Duration::from_secs(86_400);
const NAMES: [&str; 2] = ["portal.platform.svc", "postgres-rw.platform.svc"];

/// What the servers speak TLS with.
pub(super) struct Certificates {
    /// The authority, in PEM.
    pub(super) authority: String,
    /// With a certificate that is valid for 90 days.
    pub(super) valid: Arc<ServerConfig>,
    /// With a certificate that ended a day ago.
    pub(super) expired: Arc<ServerConfig>,
}

impl Certificates {
    pub(super) fn new() -> Self {
        make().expect("key generation and signing work")
    }
}

fn make() -> Result<Certificates, Box<dyn std::error::Error>> {
    let key = KeyPair::generate()?;
    let now = SystemTime::now();
    let mut params = named("Platform CA", Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let authority = params.self_signed(&key)?.pem();
    let issuer = Issuer::new(params, key);
    let config = |until: SystemTime| -> Result<_, Box<dyn std::error::Error>> {
        let key = KeyPair::generate()?;
        let mut params = named("portal", NAMES.map(str::to_owned).to_vec())?;
        params.not_before = (now - 90 * DAY).into();
        params.not_after = until.into();
        let certificate = params.signed_by(&key, &issuer)?.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        Ok(Arc::new(config))
    };
    Ok(Certificates {
        valid: config(now + 90 * DAY)?,
        expired: config(now - DAY)?,
        authority,
    })
}

fn named(name: &str, hosts: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

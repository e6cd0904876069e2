//! Certificates as Cilium's chart makes them: an authority of the cluster, and what it signs.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[error("failed to create the certificate of {name}")]
pub struct CertificateError {
    /// Its common name.
    name: String,
    /// Why.
    #[source]
    source: rcgen::Error,
}

/// `CN=Cilium CA`.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(super) certificate: String,
    pub(super) key: String,
}

/// A signed certificate and its key, in PEM.
pub(super) struct Signed {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Authority {
    pub(super) fn new() -> Result<Self, CertificateError> {
        let name = "Cilium CA";
        let failed = |source| CertificateError {
            name: name.to_owned(),
            source,
        };
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = params(name, &[]).map_err(failed)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key).map_err(failed)?.pem();
        let pem = key.serialize_pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            certificate,
            key: pem,
        })
    }

    pub(super) fn sign(&self, name: &str, hosts: &[&str]) -> Result<Signed, CertificateError> {
        let failed = |source| CertificateError {
            name: name.to_owned(),
            source,
        };
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = params(name, hosts).map_err(failed)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?.pem();
        Ok(Signed {
            certificate,
            key: key.serialize_pem(),
        })
    }
}

/// A certificate of a stranger, in PEM, that ends in so many days.
pub(super) fn ending(name: &str, days: u64) -> Result<String, CertificateError> {
    let failed = |source| CertificateError {
        name: name.to_owned(),
        source,
    };
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = params(name, &[name]).map_err(failed)?;
    params.not_after = (std::time::SystemTime::now() + std::time::Duration::from_secs(days * 86_400)).into();
    Ok(params.self_signed(&key).map_err(failed)?.pem())
}

fn params(name: &str, hosts: &[&str]) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = std::time::SystemTime::now();
    params.not_before = now.into();
    // Three years, as the chart's `certValidityDuration`.
    params.not_after = (now + std::time::Duration::from_secs(1095 * 86_400)).into();
    Ok(params)
}

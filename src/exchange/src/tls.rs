//! The client's side of TLS: any certificate is accepted, and what verification says of it is reported.

use crate::Wire;
use meshproof_contract::{TlsClient, exchange::TlsHeard};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use std::sync::{Arc, Mutex, PoisonError};
use tokio_rustls::{TlsConnector, client::TlsStream};
use x509_parser::parse_x509_certificate;

/// Makes the handshake; what it showed is in `heard`, even where it failed later.
pub(crate) async fn handshake<S: Wire>(
    stream: S,
    client: &TlsClient,
    protocols: &[&[u8]],
    heard: &mut Option<TlsHeard>,
) -> Result<TlsStream<S>, String> {
    let provider = Arc::new(ring::default_provider());
    let name = ServerName::try_from(client.server_name.clone());
    let name = name.map_err(|_| format!("invalid server name '{}'", client.server_name))?;
    let recorder = Arc::new(Recorder {
        verifier: verifier(client.roots.as_deref(), &provider),
        provider: provider.clone(),
        seen: Mutex::default(),
    });
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder
        .map_err(|error| format!("failed to set up TLS: {error}"))?
        .dangerous()
        .with_custom_certificate_verifier(recorder.clone())
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    *heard = recorder.seen.lock().unwrap_or_else(PoisonError::into_inner).take();
    let stream = connected.map_err(|error| format!("the TLS handshake failed: {error}"))?;
    if let (Some(heard), Some(version)) = (heard.as_mut(), stream.get_ref().1.protocol_version()) {
        heard.version = format!("{version:?}");
    }
    Ok(stream)
}

/// What verifies certificates by these authorities, or why nothing does.
fn verifier(roots: Option<&str>, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, String> {
    let mut store = RootCertStore::empty();
    match roots {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let certificate = certificate.map_err(|error| format!("the authority is not PEM: {error}"))?;
                let added = store.add(certificate);
                added.map_err(|error| format!("the authority is not a certificate: {error}"))?;
            }
        }
        None => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone()).build();
    verifier.map_err(|error| format!("no authority is known: {error}"))
}

/// Accepts every certificate, and remembers what verification says of it.
#[derive(Debug)]
struct Recorder {
    verifier: Result<Arc<WebPkiServerVerifier>, String>,
    provider: Arc<CryptoProvider>,
    seen: Mutex<Option<TlsHeard>>,
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = match &self.verifier {
            Ok(verifier) => verifier
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
                .map(|_| ())
                .map_err(|error| error.to_string()),
            Err(reason) => Err(reason.clone()),
        };
        let parsed = parse_x509_certificate(end_entity).ok().map(|(_, parsed)| parsed);
        let heard = TlsHeard {
            distrust: verified.err(),
            not_after: parsed.as_ref().map(|parsed| parsed.validity().not_after.timestamp()),
            subject: parsed.map_or_else(String::new, |parsed| parsed.subject().to_string()),
            version: String::new(),
        };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(heard);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

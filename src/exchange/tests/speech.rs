//! Both sides of each protocol over a pipe in memory: what a server says is what was heard.

use meshproof_contract::{Speech, TlsClient, exchange::Answer};
use meshproof_exchange::{Spoken, speak};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::TlsAcceptor;

const DAY: Duration = Duration::from_secs(86_400);

/// What is heard from a server that reads something and says this.
async fn heard(speech: Speech, says: &'static [u8]) -> Spoken {
    let (ours, mut theirs) = duplex(64 << 10);
    let server = async move {
        let mut request = [0; 1024];
        let _ = theirs.read(&mut request).await;
        theirs.write_all(says).await.expect("a reader");
    };
    tokio::join!(speak(ours, &speech), server).0
}

fn get() -> Speech {
    Speech::Http {
        tls: None,
        method: "GET".to_owned(),
        path: "/".to_owned(),
        host: "portal.platform.svc".to_owned(),
        headers: [("accept".to_owned(), "text/plain".to_owned())].into(),
    }
}

#[tokio::test]
async fn redis_answers_or_demands_a_password() {
    for (says, expected) in [
        (&b"+PONG\r\n"[..], Some(("+PONG", false))),
        (
            b"-NOAUTH Authentication required.\r\n",
            Some(("-NOAUTH Authentication required.", true)),
        ),
        (b"HTTP/1.1 400 Bad Request\r\n", None),
    ] {
        let spoken = heard(Speech::Redis, says).await;
        let found = spoken.answer.map(|answer| match answer {
            Answer::Redis { line, demands_password } => (line, demands_password),
            other => panic!("expected Redis, got {other:?}"),
        });
        assert_eq!(found, expected.map(|(line, demands)| (line.to_owned(), demands)));
        assert_eq!(spoken.failure.is_none(), expected.is_some());
    }
}

#[tokio::test]
async fn an_http_answer_is_heard_whole() {
    let spoken = heard(get(), b"HTTP/1.1 418 x\r\nX-Portal: 2\r\nContent-Length: 3\r\n\r\ntea").await;
    let expected = Answer::Http {
        status: 418,
        headers: vec![
            ("x-portal".to_owned(), "2".to_owned()),
            ("content-length".to_owned(), "3".to_owned()),
        ],
        body: "tea".to_owned(),
    };
    assert_eq!(spoken.answer, Some(expected));
    let cut = heard(get(), b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\ntea").await;
    assert!(cut.answer.is_none() && cut.failure.is_some(), "{cut:?}");
}

/// A PostgreSQL server without TLS that answers the startup message with this.
async fn postgres(says: &'static [u8]) -> Spoken {
    let (ours, mut theirs) = duplex(4096);
    let server = async move {
        let mut request = [0; 8];
        theirs.read_exact(&mut request).await.expect("SSLRequest");
        assert_eq!(request, [0, 0, 0, 8, 4, 210, 22, 47]);
        theirs.write_all(b"N").await.expect("a reader");
        let length = theirs.read_u32().await.expect("a startup message") as usize;
        let mut startup = vec![0; length - 4];
        theirs.read_exact(&mut startup).await.expect("a startup message");
        assert_eq!(startup[..4], [0, 3, 0, 0]);
        theirs.write_all(says).await.expect("a reader");
    };
    let speech = Speech::Postgres(client(None));
    tokio::join!(speak(ours, &speech), server).0
}

#[tokio::test]
async fn postgres_asks_for_a_password_or_says_what_is_wrong() {
    for (says, expected) in [
        (
            &b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0"[..],
            "asks for SASL (SCRAM-SHA-256)",
        ),
        (b"R\0\0\0\x08\0\0\0\0", "asks for no password"),
        (b"E\0\0\0\x17SFATAL\0C28000\0Mno\0\0", "answers FATAL 28000: no"),
    ] {
        let spoken = postgres(says).await;
        let answer = Answer::Postgres {
            tls: false,
            startup: expected.to_owned(),
        };
        assert_eq!(spoken.answer, Some(answer), "{spoken:?}");
    }
    assert!(postgres(b"HTTP/1.1 400").await.failure.is_some());
}

fn client(roots: Option<&str>) -> TlsClient {
    TlsClient {
        server_name: "portal.platform.svc".to_owned(),
        roots: roots.map(str::to_owned),
    }
}

/// A server's certificate for these names that ends then, as PEM, and its configuration.
fn certificate(names: &[&str], until: SystemTime) -> (String, Arc<ServerConfig>) {
    let key = KeyPair::generate().expect("a key");
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.not_before = (SystemTime::now() - 90 * DAY).into();
    params.not_after = until.into();
    let signed = params.self_signed(&key).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![signed.der().clone()], key)
        .expect("a configuration");
    (signed.pem(), Arc::new(config))
}

async fn handshake(roots: Option<&str>, config: Arc<ServerConfig>) -> Spoken {
    let (ours, theirs): (DuplexStream, DuplexStream) = duplex(64 << 10);
    let server = async move {
        let stream = TlsAcceptor::from(config).accept(theirs).await;
        drop(stream);
    };
    let speech = Speech::Tls(client(roots));
    tokio::join!(speak(ours, &speech), server).0
}

#[tokio::test]
async fn a_certificate_is_reported_whether_it_is_trusted_or_not() {
    let until = SystemTime::now() + 30 * DAY;
    let (pem, config) = certificate(&["portal.platform.svc"], until);
    let trusted = handshake(Some(&pem), config.clone()).await.tls.expect("a handshake");
    assert_eq!(trusted.distrust, None);
    let end = until
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs() as i64;
    assert!(trusted.not_after.is_some_and(|at| (at - end).abs() <= 1), "{trusted:?}");
    assert_eq!(trusted.version, "TLSv1_3");
    let stranger = handshake(None, config).await;
    assert!(stranger.tls.is_some_and(|tls| tls.distrust.is_some()) && stranger.failure.is_none());
}

#[tokio::test]
async fn a_wrong_name_and_an_expired_certificate_are_not_trusted() {
    let (pem, config) = certificate(&["other.platform.svc"], SystemTime::now() + 30 * DAY);
    assert!(
        handshake(Some(&pem), config)
            .await
            .tls
            .is_some_and(|tls| tls.distrust.is_some())
    );
    let (pem, config) = certificate(&["portal.platform.svc"], SystemTime::now() - DAY);
    let expired = handshake(Some(&pem), config).await.tls.expect("a handshake");
    assert!(
        expired.distrust.is_some_and(|why| why.contains("xpired")),
        "it says why"
    );
}

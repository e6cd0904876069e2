//! The first messages of PostgreSQL's protocol 3.0: SSLRequest, and a startup message without credentials
//! (<https://www.postgresql.org/docs/current/protocol-message-formats.html>).

use crate::{Wire, broken, read_exact, tls};
use meshproof_contract::{
    TlsClient,
    exchange::{Answer, TlsHeard},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// Protocol 3.0.
const VERSION: i32 = 196_608;
/// The user of the startup message: a role of this name need not exist.
const PARAMETERS: &[u8] = b"user\0meshproof\0database\0postgres\0application_name\0meshproof\0\0";
/// Longer messages do not belong to the startup.
const MESSAGE: usize = 16 << 10;

pub(crate) async fn exchange(
    mut stream: impl Wire,
    client: &TlsClient,
    heard: &mut Option<TlsHeard>,
) -> Result<Answer, String> {
    stream.write_all(&SSL_REQUEST).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    match stream.read_u8().await.map_err(broken)? {
        b'S' => {
            let stream = tls::handshake(stream, client, &[], heard).await?;
            let startup = startup(stream).await?;
            Ok(Answer::Postgres { tls: true, startup })
        }
        b'N' => {
            let startup = startup(stream).await?;
            Ok(Answer::Postgres { tls: false, startup })
        }
        other => Err(format!(
            "the answer to SSLRequest is {:?}, not that of a PostgreSQL server",
            char::from(other)
        )),
    }
}

/// What the server answers to a startup message, for people.
async fn startup(mut stream: impl Wire) -> Result<String, String> {
    let length = 8 + PARAMETERS.len();
    let mut message = Vec::with_capacity(length);
    message.extend(u32::try_from(length).unwrap_or_default().to_be_bytes());
    message.extend(VERSION.to_be_bytes());
    message.extend(PARAMETERS);
    stream.write_all(&message).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let kind = stream.read_u8().await.map_err(broken)?;
    let length = stream.read_u32().await.map_err(broken)? as usize;
    if !(4..=MESSAGE).contains(&length) {
        return Err("the answer to the startup message is not that of a PostgreSQL server".to_owned());
    }
    let mut body = vec![0; length - 4];
    read_exact(&mut stream, &mut body).await?;
    match kind {
        b'R' => Ok(authentication(&body)),
        b'E' => Ok(error(&body)),
        other => Err(format!(
            "the answer to the startup message has type {:?}, not that of a PostgreSQL server",
            char::from(other)
        )),
    }
}

/// The method of an authentication request.
fn authentication(body: &[u8]) -> String {
    let code = body.first_chunk::<4>().map(|bytes| i32::from_be_bytes(*bytes));
    let method = match code {
        Some(0) => return "asks for no password".to_owned(),
        Some(3) => "a clear-text password",
        Some(5) => "an MD5 password",
        Some(7 | 9) => "GSSAPI or SSPI",
        Some(10) => "SASL (SCRAM-SHA-256)",
        _ => "an unknown method of authentication",
    };
    format!("asks for {method}")
}

/// Severity, code and message of an ErrorResponse.
fn error(body: &[u8]) -> String {
    let fields = body.split(|byte| *byte == 0);
    let field = |kind: u8| {
        let mut found = fields.clone().filter_map(|field| field.split_first());
        let text = found.find(|(first, _)| **first == kind).map(|(_, text)| text);
        String::from_utf8_lossy(text.unwrap_or_default()).into_owned()
    };
    format!("answers {} {}: {}", field(b'S'), field(b'C'), field(b'M'))
}

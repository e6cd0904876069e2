//! One HTTP/1.1 exchange.

use crate::Wire;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use meshproof_contract::{Speech, exchange::Answer};

/// So much of a body is read.
const BODY: usize = 16 << 10;

pub(crate) async fn exchange(stream: impl Wire, speech: &Speech) -> Result<Answer, String> {
    let Speech::Http {
        method,
        path,
        host,
        headers,
        ..
    } = speech
    else {
        return Err("internal error: the speech is not HTTP".to_owned());
    };
    let mut request = http::Request::builder().method(method.as_str()).uri(path.as_str());
    request = request.header(http::header::HOST, host.as_str());
    for (name, value) in headers {
        request = request.header(name.as_str(), value.as_str());
    }
    let request = request.body(Empty::<Bytes>::new());
    let request = request.map_err(|error| format!("the request is malformed: {error}"))?;
    let failed = |error: hyper::Error| format!("the HTTP exchange failed: {error}");
    let opened = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = opened.map_err(failed)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status().as_u16();
        let headers = response.headers().iter();
        let headers = headers.map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        });
        let headers = headers.collect();
        let (mut body, mut read) = (response.into_body(), Vec::new());
        while let Some(frame) = body.frame().await {
            if let Some(data) = frame.map_err(failed)?.data_ref() {
                read.extend_from_slice(data);
            }
            if read.len() >= BODY {
                read.truncate(BODY);
                break;
            }
        }
        Ok(Answer::Http {
            status,
            headers,
            body: String::from_utf8_lossy(&read).into_owned(),
        })
    };
    let connection = async {
        // Its end is the exchange's failure, which says more.
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        answer = exchange => answer,
        never = connection => never,
    }
}

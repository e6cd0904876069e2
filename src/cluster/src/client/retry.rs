//! Calls made again after a temporary failure. Knows nothing of what is called.

use crate::ApiError;
use std::time::Duration;

/// Pauses before each retry.
const PAUSES: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(1200)];

/// Makes a call, and makes it again while it fails temporarily.
pub(super) async fn again<T, F>(call: impl Fn() -> F) -> Result<T, ApiError>
where
    F: Future<Output = Result<T, ApiError>>,
{
    for pause in PAUSES {
        match call().await {
            Err(error) if error.cause.is_temporary() => {
                tracing::debug!(%error, "retrying");
                tokio::time::sleep(pause).await;
            }
            ended => return ended,
        }
    }
    call().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Cause, Endpoint, Operation, Outage};
    use std::{cell::Cell, sync::Arc};

    /// How often a call is made that fails `failures` times with this cause, and whether it succeeds.
    async fn tries(cause: Cause, failures: u32) -> (u32, bool) {
        let made = Cell::new(0);
        let ended = again(|| async {
            made.set(made.get() + 1);
            if made.get() > failures {
                return Ok(());
            }
            Err(ApiError {
                endpoint: Arc::new(Endpoint {
                    cluster: "infra".into(),
                    context: "infra".into(),
                    server: "https://192.0.2.1".into(),
                    proxy: None,
                }),
                operation: Box::new(Operation::on("list", "pods")),
                cause: cause.clone(),
            })
        })
        .await;
        (made.get(), ended.is_ok())
    }

    #[tokio::test(start_paused = true)]
    async fn a_temporary_failure_is_retried_twice() {
        let refused = |code, message: &str| Cause::Refused {
            code,
            message: message.to_owned(),
        };
        for passing in [
            refused(500, "etcdserver: leader changed"),
            refused(500, "rpc error: request timed out"),
            refused(500, "Internal error occurred: failed calling webhook \"x\": EOF"),
            refused(503, "the server is shutting down"),
            Cause::Unreachable(Outage::Other("connection closed before message completed".into())),
        ] {
            assert_eq!(tries(passing.clone(), 2).await, (3, true), "{passing:?}");
            assert_eq!(tries(passing.clone(), 9).await, (3, false), "{passing:?}");
        }
        for lasting in [
            refused(500, "a field is wrong"),
            refused(422, "invalid"),
            Cause::Forbidden("no".into()),
            Cause::NotFound("no".into()),
            Cause::Unreachable(Outage::Timeout),
            Cause::Unreachable(Outage::Refused),
        ] {
            assert_eq!(tries(lasting.clone(), 9).await, (1, false), "{lasting:?}");
        }
    }
}

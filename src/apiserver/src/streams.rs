//! What a kubelet offers to the API server: exec, port-forward and logs of a pod's containers. The server carries the
//! bytes between a client and an implementation of [`Streams`]; how a container is run is not its business.

use crate::{error::ApiError, object::Object};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::pin::Pin;
use tokio::io::{AsyncRead, AsyncWrite};

/// A boxed source of bytes.
pub type Reader = Pin<Box<dyn AsyncRead + Send>>;
/// A boxed sink of bytes. Dropping it or shutting it down is end of file.
pub type Writer = Pin<Box<dyn AsyncWrite + Send>>;
/// A boxed connection.
pub type Duplex = Pin<Box<dyn ReadWrite>>;

/// Both directions of a connection.
pub trait ReadWrite: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> ReadWrite for T {}

/// Whether the client asked for a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// Separate stdout and stderr.
    None,
    /// One terminal; there is no stderr.
    Tty,
}

/// A command to run in a container, with its streams. Streams that the client did not ask for are none.
pub struct Exec {
    /// The pod as stored when the request came.
    pub pod: Object,
    /// A container that exists in the pod's specification.
    pub container: String,
    /// The command and its arguments; never empty.
    pub argv: Vec<String>,
    /// From the client.
    pub stdin: Option<Reader>,
    /// To the client.
    pub stdout: Option<Writer>,
    /// To the client; none with a terminal.
    pub stderr: Option<Writer>,
    /// Whether a terminal was asked for.
    pub terminal: Terminal,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// It ran and ended with this code; 0 is success.
    Code(i32),
    /// It could not be run, or did not end by itself; the text is shown to the client.
    Failed(String),
}

impl ExitStatus {
    /// The `metav1.Status` that the kubelet sends on the error channel.
    pub(crate) fn to_status(&self) -> Value {
        match self {
            Self::Code(0) => json!({"metadata": {}, "status": "Success"}),
            Self::Code(code) => json!({
                "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
                "message": format!("command terminated with non-zero exit code: exit status {code}"),
                "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
            }),
            Self::Failed(why) => json!({
                "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
                "message": format!("Internal error occurred: {why}"), "details": {"causes": [{"message": why}]},
            }),
        }
    }
}

/// Which part of a container's log is wanted. `previous` never gets here: the server answers it itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Keep the stream open and send new lines as they come.
    pub follow: bool,
    /// Only the last lines.
    pub tail_lines: Option<u64>,
    /// Only lines of the last seconds.
    pub since_seconds: Option<u64>,
    /// Prefix every line with its RFC 3339 time.
    pub timestamps: bool,
    /// Stop after so many bytes.
    pub limit_bytes: Option<u64>,
}

/// The streams of containers, implemented by whoever runs them.
///
/// Dropping a returned future or stream means that the client has gone.
#[async_trait]
pub trait Streams: Send + Sync + 'static {
    /// Runs a command until it ends. That pod and container exist and that the pod has not ended is checked before. The
    /// streams must be dropped when the command ends: the client gets the exit status after they are.
    async fn exec(&self, exec: Exec) -> Result<ExitStatus, ApiError>;

    /// Connects to a port of the pod, as from within its network namespace (loopback included).
    async fn port_forward(&self, pod: &Object, port: u16) -> Result<Duplex, ApiError>;

    /// The log of a container.
    async fn logs(&self, pod: &Object, container: &str, options: LogOptions) -> Result<Reader, ApiError>;
}

/// A cluster without kubelets: every stream is refused with 503.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoStreams;

#[async_trait]
impl Streams for NoStreams {
    async fn exec(&self, _: Exec) -> Result<ExitStatus, ApiError> {
        Err(no_kubelet())
    }

    async fn port_forward(&self, _: &Object, _: u16) -> Result<Duplex, ApiError> {
        Err(no_kubelet())
    }

    async fn logs(&self, _: &Object, _: &str, _: LogOptions) -> Result<Reader, ApiError> {
        Err(no_kubelet())
    }
}

fn no_kubelet() -> ApiError {
    ApiError::new(
        crate::error::Reason::ServiceUnavailable,
        "no kubelet serves the streams of this cluster's pods",
    )
}

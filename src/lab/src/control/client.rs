//! Asks a running lab.

use super::{LabReply, LabRequest, LabStatus, well_known_name};
use std::{
    io,
    os::{linux::net::SocketAddrExt, unix::net::SocketAddr},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
};

/// How long a lab may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a lab did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens there.
    #[error("no lab is running; start one with `meshproof lab up`")]
    NotRunning,
    /// It listens, but the conversation failed.
    #[error("failed to reach the control socket of the lab at @{name}")]
    Talk {
        /// The abstract socket's name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// It understood and refused.
    #[error("{0}")]
    Refused(String),
}

/// A handle on a running lab, from the same or another process. Cheap to clone; it holds no connection.
#[derive(Clone, Debug)]
pub struct Control {
    name: String,
}

impl Control {
    /// The lab that this user started with `lab up`.
    ///
    /// # Errors
    /// [`ControlError::NotRunning`] when there is none.
    pub async fn find() -> Result<Self, ControlError> {
        let control = Self::named(well_known_name(nix::unistd::getuid().as_raw()));
        control.connect().await.map(|_| control)
    }

    pub(crate) fn named(name: String) -> Self {
        Self { name }
    }

    /// What runs.
    ///
    /// # Errors
    /// When the lab has ended or does not answer.
    pub async fn status(&self) -> Result<LabStatus, ControlError> {
        match self.ask(LabRequest::Status).await? {
            LabReply::Status(status) => Ok(status),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Injects a fault; it acts when this returns.
    ///
    /// # Errors
    /// When there is no such fault, or the lab lacks what it acts on.
    pub async fn inject(&self, name: &str) -> Result<(), ControlError> {
        self.done(LabRequest::Inject { name: name.to_owned() }).await
    }

    /// Heals a fault.
    ///
    /// # Errors
    /// When there is no such fault.
    pub async fn heal(&self, name: &str) -> Result<(), ControlError> {
        self.done(LabRequest::Heal { name: name.to_owned() }).await
    }

    /// Heals all faults.
    ///
    /// # Errors
    /// When the lab has ended or does not answer.
    pub async fn heal_all(&self) -> Result<(), ControlError> {
        self.done(LabRequest::HealAll).await
    }

    /// Cuts a node off, as if its cable were pulled; it is gone when this returns.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn cut_node(&self, cluster: &str, node: &str) -> Result<(), ControlError> {
        let (cluster, node) = (cluster.to_owned(), node.to_owned());
        self.done(LabRequest::CutNode { cluster, node }).await
    }

    /// Brings a node back.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn restore_node(&self, cluster: &str, node: &str) -> Result<(), ControlError> {
        let (cluster, node) = (cluster.to_owned(), node.to_owned());
        self.done(LabRequest::RestoreNode { cluster, node }).await
    }

    /// The last flows of every node, one line each, oldest first.
    ///
    /// # Errors
    /// When the lab has ended or does not answer.
    pub async fn flows(&self, limit: usize) -> Result<Vec<String>, ControlError> {
        match self.ask(LabRequest::Flows { limit }).await? {
            LabReply::Flows { lines } => Ok(lines),
            other => Err(self.unexpected(&other)),
        }
    }

    /// The kubeconfig's text, and the path where it can be read as long as the lab runs.
    ///
    /// # Errors
    /// When the lab has ended or does not answer.
    pub async fn kubeconfig(&self) -> Result<(String, String), ControlError> {
        match self.ask(LabRequest::Kubeconfig).await? {
            LabReply::Kubeconfig { text, path } => Ok((text, path)),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Ends the lab and waits until it is gone.
    ///
    /// # Errors
    /// When it does not answer, or does not stop within ten seconds.
    pub async fn stop(&self) -> Result<(), ControlError> {
        let mut stream = self.connect().await?;
        let reply = self.exchange(&mut stream, &LabRequest::Stop).await?;
        if let LabReply::Refused { why } = reply {
            return Err(ControlError::Refused(why));
        }
        // The process keeps this connection until its end: what closes it is the end of the process.
        let mut rest = String::new();
        let gone = tokio::time::timeout(TIMEOUT, BufReader::new(stream).read_line(&mut rest)).await;
        match gone {
            Ok(_) => Ok(()),
            Err(_) => Err(ControlError::Refused(format!(
                "the lab did not stop within {} s",
                TIMEOUT.as_secs()
            ))),
        }
    }

    async fn done(&self, question: LabRequest) -> Result<(), ControlError> {
        match self.ask(question).await? {
            LabReply::Done => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    async fn ask(&self, question: LabRequest) -> Result<LabReply, ControlError> {
        let mut stream = self.connect().await?;
        match self.exchange(&mut stream, &question).await? {
            LabReply::Refused { why } => Err(ControlError::Refused(why)),
            reply => Ok(reply),
        }
    }

    async fn connect(&self) -> Result<UnixStream, ControlError> {
        let connect = || {
            let address = SocketAddr::from_abstract_name(&self.name)?;
            let stream = std::os::unix::net::UnixStream::connect_addr(&address)?;
            stream.set_nonblocking(true)?;
            UnixStream::from_std(stream)
        };
        connect().map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => ControlError::NotRunning,
            _ => self.failed(error),
        })
    }

    async fn exchange(&self, stream: &mut UnixStream, question: &LabRequest) -> Result<LabReply, ControlError> {
        let talk = async {
            let mut line = serde_json::to_vec(question)?;
            line.push(b'\n');
            stream.write_all(&line).await?;
            let mut reply = String::new();
            BufReader::new(&mut *stream).read_line(&mut reply).await?;
            if reply.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(serde_json::from_str(&reply)?)
        };
        match tokio::time::timeout(TIMEOUT, talk).await {
            Ok(result) => result.map_err(|error| self.failed(error)),
            Err(_) => Err(self.failed(io::ErrorKind::TimedOut.into())),
        }
    }

    fn failed(&self, source: io::Error) -> ControlError {
        ControlError::Talk {
            name: self.name.clone(),
            source,
        }
    }

    fn unexpected(&self, reply: &LabReply) -> ControlError {
        self.failed(io::Error::other(format!("unexpected reply: {reply:?}")))
    }
}

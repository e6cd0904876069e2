//! Exchanges in protocols of applications: the agent connects from its pod, over a stream of its own, and what is said
//! there is said here.

use super::AgentLink;
use crate::agent::route::{self, Route, Stream};
use meshproof_contract::{EnvironmentError, Exchange, Heard};
use meshproof_exchange::speak;
use meshproof_wire::{Answer, Command, Hello, Request, Response, read_frame, write_frame};
use std::time::Duration;
use tokio::time::timeout;

/// How much longer than the exchange the way to the agent may take.
const MARGIN: Duration = Duration::from_secs(10);
/// How long the reason of a broken stream may be under way.
const REASON: Duration = Duration::from_millis(200);

impl AgentLink {
    /// Connects from the agent's pod and speaks there.
    pub(crate) async fn exchange(&self, exchange: Exchange) -> Result<Heard, EnvironmentError> {
        // It finds the route that works, and that the pod is still the one that was connected.
        drop(self.connect().await?);
        let route = self.line.lock().await.route.unwrap_or(Route::PortForward);
        let opened = route::open(&self.client, &self.pod, route).await;
        let stream = opened.map_err(|error| self.gone(format!("{}: {}", route.name(), error.reason())))?;
        let time = exchange.deadline + exchange.deadline + MARGIN;
        let done = timeout(time, self.exchange_on(stream, exchange)).await;
        done.unwrap_or_else(|_| Err(self.gone(format!("no answer within {} s", time.as_secs()))))
    }

    async fn exchange_on(&self, stream: Stream, exchange: Exchange) -> Result<Heard, EnvironmentError> {
        let Stream {
            mut reader,
            mut writer,
            guard,
            failure,
        } = stream;
        let broken = |error: &dyn std::fmt::Display| self.gone(format!("the stream broke: {error}"));
        let hello = read_frame::<Hello>(&mut reader).await.map_err(|error| broken(&error))?;
        self.check_greeting(&hello.ok_or_else(|| self.gone("no greeting".to_owned()))?)?;
        let command = Command::Relay {
            to: exchange.to.clone(),
            deadline: u64::try_from(exchange.deadline.as_micros()).unwrap_or(u64::MAX),
        };
        let request = Request { id: 1, command };
        let written = write_frame(&mut writer, &request).await;
        written.map_err(|error| broken(&error))?;
        let answered = read_frame::<Response>(&mut reader).await;
        let answer = answered
            .map_err(|error| broken(&error))?
            .map(|response| response.answer);
        let connection = match answer {
            Some(Answer::Outcomes { outcomes }) => outcomes.into_iter().next(),
            Some(Answer::Error { reason }) => return Err(self.gone(format!("it refused the relay: {reason}"))),
            _ => None,
        };
        let connection = connection.ok_or_else(|| self.gone("the answer to a relay has no outcome".to_owned()))?;
        if !connection.is_success() {
            return Ok(Heard::unconnected(connection));
        }
        let said = timeout(
            exchange.deadline,
            speak(tokio::io::join(reader, writer), &exchange.speech),
        )
        .await;
        let mut heard = Heard::unconnected(connection);
        match said {
            Err(_) => heard.failure = Some(format!("no answer within {} ms", exchange.deadline.as_millis())),
            Ok(spoken) => {
                // The stream's own end looks like the far side's.
                if spoken.failure.is_some()
                    && let Ok(Some(reason)) = timeout(REASON, failure).await
                {
                    return Err(broken(&reason));
                }
                (heard.tls, heard.answer, heard.failure) = (spoken.tls, spoken.answer, spoken.failure);
            }
        }
        drop(guard);
        Ok(heard)
    }
}

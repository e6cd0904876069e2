//! The one consumer of a run's events: it owns the terminal and the event log.

use jiff::Timestamp;
use meshproof_contract::{Event, EventRecord, event::Phase};
use meshproof_progress::Progress;
use meshproof_report::{RunFolder, RunReport, folder::EventLog};
use std::{path::Path, time::Duration};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

/// How often the live view's clocks are updated.
const TICK: Duration = Duration::from_millis(100);

/// Where events go; cheap to clone.
#[derive(Clone)]
pub struct Events(UnboundedSender<Event>);

impl Events {
    /// A channel of events without a consumer yet.
    pub fn channel() -> (Self, UnboundedReceiver<Event>) {
        let (sender, receiver) = unbounded_channel();
        (Self(sender), receiver)
    }
    /// Events of which only the warnings are shown, on stderr.
    pub fn warnings_on_stderr() -> Self {
        let (events, mut incoming) = Self::channel();
        tokio::spawn(async move {
            while let Some(event) = incoming.recv().await {
                warn_on_stderr(&event);
            }
        });
        events
    }
    /// Sends an event. Nobody listening any more means that the run is over.
    pub fn send(&self, event: Event) {
        if self.0.send(event).is_err() {
            tracing::debug!("an event came after the end of the run");
        }
    }
    /// A phase begins.
    pub fn phase(&self, phase: Phase) {
        self.send(Event::Phase { phase });
    }
    /// Something that people should know.
    pub fn warning(&self, message: impl Into<String>) {
        self.send(Event::Warning {
            message: message.into(),
        });
    }
    /// For those who take the bare channel.
    pub fn sender(&self) -> UnboundedSender<Event> {
        self.0.clone()
    }
}

/// Prints the event on stderr if it is a warning.
pub fn warn_on_stderr(event: &Event) {
    if let Event::Warning { message } = event {
        eprintln!("meshproof: {message}");
    }
}

/// A running consumer; it ends when every [`Events`] is dropped.
pub struct Consumer(JoinHandle<Consumed>);

/// What the consumer leaves.
pub struct Consumed {
    progress: Progress,
}

impl Consumer {
    /// Starts consuming; events are shown by `progress` and appended to `log`.
    pub fn start(progress: Progress, log: Option<EventLog>) -> (Events, Self) {
        let (events, receiver) = Events::channel();
        (events, Self(tokio::spawn(consume(receiver, progress, log))))
    }

    /// Waits for the last event.
    pub async fn end(self) -> Consumed {
        match self.0.await {
            Ok(consumed) => consumed,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

async fn consume(mut events: UnboundedReceiver<Event>, mut progress: Progress, mut log: Option<EventLog>) -> Consumed {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = events.recv() => {
                let Some(event) = event else { break };
                let record = EventRecord { at: Timestamp::now(), event };
                if let Some(Err(error)) = log.as_mut().map(|log| log.handle(&record)) {
                    // A full disk must not end the run: the terminal still shows the result.
                    let lost = Event::Warning { message: format!("{error}; the event log ends here") };
                    progress.handle(&EventRecord { at: record.at, event: lost });
                    log = None;
                }
                progress.handle(&record);
            }
            _ = ticks.tick() => progress.tick(Timestamp::now()),
        }
    }
    Consumed { progress }
}

impl Consumed {
    /// The run as a report.
    pub fn report(&self) -> RunReport {
        RunReport::of(self.progress.run())
    }

    /// Writes the reports into the run's folder and prints the result, then an error if the
    /// folder cannot be written.
    pub fn finish(mut self, folder: Option<&RunFolder>) {
        let written = folder.map(|folder| folder.write_all(&self.report()));
        let shown: Option<&Path> = match (&written, folder) {
            (Some(Ok(())), Some(folder)) => Some(folder.path()),
            _ => None,
        };
        self.progress.finish(shown);
        if let Some(Err(error)) = written {
            eprintln!("meshproof: {error}");
        }
    }
}

//! A container's log: the last lines in memory, and readers that follow it. It does not know who writes.

use crate::sync::lock;
use jiff::Timestamp;
use meshproof_apiserver::{LogOptions, Reader};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};
use tokio::{io::AsyncWriteExt, sync::watch};

/// How many lines of a container are kept.
const LINES: usize = 2000;
/// Longer lines are cut, as containerd cuts them.
const LINE_BYTES: usize = 16 << 10;

/// Writes a container's log. Cheap to clone; every clone is the same log.
#[derive(Clone, Debug)]
pub struct LogWriter(Arc<Log>);

#[derive(Debug)]
struct Log {
    lines: Mutex<Lines>,
    progress: watch::Sender<Written>,
}

#[derive(Debug, Default)]
struct Lines {
    kept: VecDeque<LogLine>,
    /// Number of the first kept line.
    first: u64,
}

#[derive(Clone, Debug)]
struct LogLine {
    time: Timestamp,
    text: Arc<str>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Written {
    next: u64,
    closed: bool,
}

impl Default for LogWriter {
    fn default() -> Self {
        Self(Arc::new(Log {
            lines: Mutex::default(),
            progress: watch::Sender::default(),
        }))
    }
}

impl LogWriter {
    /// Adds a line (without its line feed).
    pub fn line(&self, text: impl AsRef<str>) {
        let text = text.as_ref();
        let end = (0..=LINE_BYTES.min(text.len()))
            .rev()
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or_default();
        let line = LogLine {
            time: Timestamp::now(),
            text: text[..end].into(),
        };
        let mut lines = lock(&self.0.lines);
        lines.kept.push_back(line);
        if lines.kept.len() > LINES {
            lines.kept.pop_front();
            lines.first += 1;
        }
        let next = lines.first + lines.kept.len() as u64;
        drop(lines);
        self.0.progress.send_modify(|progress| progress.next = next);
    }

    /// Says that nothing will be written any more: followers end.
    pub(crate) fn close(&self) {
        self.0.progress.send_modify(|progress| progress.closed = true);
    }

    /// The log as a stream of bytes, as `kubectl logs` wants it.
    pub(crate) fn read(&self, options: LogOptions) -> Reader {
        let (mut writer, reader) = tokio::io::duplex(64 << 10);
        let log = Arc::clone(&self.0);
        tokio::spawn(async move {
            // An error means that the reader has gone.
            let _ = log.copy(options, &mut writer).await;
            let _ = writer.shutdown().await;
        });
        Box::pin(reader)
    }
}

impl Log {
    async fn copy(&self, options: LogOptions, writer: &mut tokio::io::DuplexStream) -> std::io::Result<()> {
        let mut progress = self.progress.subscribe();
        let since = options
            .since_seconds
            .and_then(|s| i64::try_from(s).ok())
            .map(|seconds| {
                Timestamp::now()
                    .checked_sub(jiff::SignedDuration::from_secs(seconds))
                    .unwrap_or(Timestamp::UNIX_EPOCH)
            });
        let mut next = options
            .tail_lines
            .map_or(0, |tail| progress.borrow().next.saturating_sub(tail));
        let mut left = options.limit_bytes.unwrap_or(u64::MAX);
        loop {
            let seen = *progress.borrow_and_update();
            for line in self.from(next) {
                if since.is_some_and(|since| line.time < since) {
                    continue;
                }
                let mut text = line.text.to_string();
                if options.timestamps {
                    text = format!("{:.9} {text}", line.time);
                }
                text.push('\n');
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(text.len());
                writer.write_all(&text.as_bytes()[..taken]).await?;
                left -= taken as u64;
                if left == 0 {
                    return Ok(());
                }
            }
            next = seen.next;
            if !options.follow || seen.closed {
                return Ok(());
            }
            tokio::select! {
                changed = progress.changed() => if changed.is_err() { return Ok(()) },
                // A reader that has gone is noticed only by writing; a closed pipe shows it without a line.
                () = gone(writer) => return Ok(()),
            }
        }
    }

    fn from(&self, next: u64) -> Vec<LogLine> {
        let lines = lock(&self.lines);
        let skipped = next.saturating_sub(lines.first) as usize;
        lines.kept.iter().skip(skipped).cloned().collect()
    }
}

/// Ends when the other half of the pipe is dropped (nobody ever writes on it).
async fn gone(writer: &mut tokio::io::DuplexStream) {
    use tokio::io::AsyncReadExt;
    let mut byte = [0];
    let _ = writer.read(&mut byte).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    async fn read(log: &LogWriter, options: LogOptions) -> String {
        let mut text = String::new();
        log.read(options).read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn a_log_keeps_the_last_lines() {
        let log = LogWriter::default();
        for n in 0..LINES + 5 {
            log.line(format!("line {n}"));
        }
        let tail = LogOptions {
            tail_lines: Some(2),
            ..LogOptions::default()
        };
        assert_eq!(
            read(&log, tail).await,
            format!("line {}\nline {}\n", LINES + 3, LINES + 4)
        );
        assert!(read(&log, LogOptions::default()).await.starts_with("line 5\n"));
    }

    #[tokio::test]
    async fn a_follower_sees_new_lines_and_the_end() {
        let log = LogWriter::default();
        log.line("one");
        let mut reader = log.read(LogOptions {
            follow: true,
            ..LogOptions::default()
        });
        let mut first = [0; 4];
        reader.read_exact(&mut first).await.unwrap();
        log.line("two");
        log.close();
        let mut rest = String::new();
        reader.read_to_string(&mut rest).await.unwrap();
        assert_eq!((&first[..], rest.as_str()), (&b"one\n"[..], "two\n"));
    }
}

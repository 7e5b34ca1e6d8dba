//! Carries pages from a reader on the I/O thread to whoever takes them, bounded in bytes.
//!
//! `page` returns when the reader may make its next call: at once while the queue has room (a refresh reads ahead),
//! or only when the taker asks for more (a live scan must not call ahead of the executor).
//!
//! Layer: extract. Knows nothing of Postgres.

use super::{Page, ReadEnd};
use crate::error::SyncError;
use crate::http::{AccessToken, TokenSource};
use futures_util::future::BoxFuture;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::{oneshot, Notify};

/// What a reader says to the taker of its pages.
#[derive(Debug)]
pub enum Event {
    Page(Page),
    /// The access token is stale: a new one is asked for, and the reader waits.
    NeedToken {
        stale: Option<AccessToken>,
        reply: oneshot::Sender<Result<AccessToken, SyncError>>,
    },
    End(Result<ReadEnd, SyncError>),
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    bytes: usize,
    /// Pages asked for and not yet given (lazy readers only).
    wanted: u64,
    closed: bool,
}

/// The shared half: both ends hold it.
pub struct Channel {
    queue: Mutex<Queue>,
    room: Notify,
    /// Bytes in the queue beyond which a reader waits; 0 for a lazy reader.
    capacity: usize,
    /// Called after every event, to wake the taker.
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Channel {
    pub fn new(capacity: usize, wake: Box<dyn Fn() + Send + Sync>) -> Arc<Self> {
        Arc::new(Channel { queue: Mutex::default(), room: Notify::new(), capacity, wake })
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // A panic while the lock was held cannot leave the queue inconsistent: each change is one push or pop.
        self.queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Takes what is there, without waiting.
    pub fn take(&self) -> Option<Event> {
        let mut queue = self.lock();
        let event = queue.events.pop_front()?;
        if let Event::Page(page) = &event {
            queue.bytes = queue.bytes.saturating_sub(page.size());
            self.room.notify_waiters();
        }
        Some(event)
    }

    /// Takes a page if one is next; the end and questions wait their turn.
    pub fn take_page(&self) -> Option<Page> {
        if !matches!(self.lock().events.front(), Some(Event::Page(_))) {
            return None;
        }
        match self.take() {
            Some(Event::Page(page)) => Some(page),
            _ => None,
        }
    }

    /// Lets a lazy reader make its next call.
    pub fn want_more(&self) {
        self.lock().wanted += 1;
        self.room.notify_waiters();
    }

    /// The taker is gone: readers stop at their next page.
    pub fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        queue.events.clear();
        queue.bytes = 0;
        self.room.notify_waiters();
    }
}

/// The reader's end.
#[derive(Clone)]
pub struct Sink {
    channel: Arc<Channel>,
    /// The output that all rows are of, for who reads one of several by itself.
    output: Option<usize>,
}

impl Sink {
    pub fn new(channel: Arc<Channel>) -> Self {
        Sink { channel, output: None }
    }

    /// The same for a reader that knows of one output only, as that one of several.
    pub fn of_output(&self, index: usize) -> Self {
        Sink { output: Some(index), ..self.clone() }
    }

    /// Gives a page and waits until the next call may be made. An error means that nobody takes pages any more.
    pub async fn page(&self, mut page: Page) -> Result<(), SyncError> {
        if let Some(output) = self.output {
            page.batches.iter_mut().for_each(|(index, _)| *index = output);
        }
        let size = page.size();
        {
            let mut queue = self.channel.lock();
            queue.bytes += size;
            queue.events.push_back(Event::Page(page));
        }
        (self.channel.wake)();
        self.until_room().await
    }

    /// Waits until a call may be made: at the start of a lazy read, too.
    pub async fn until_room(&self) -> Result<(), SyncError> {
        loop {
            let waiting = self.channel.room.notified();
            tokio::pin!(waiting);
            waiting.as_mut().enable();
            {
                let mut queue = self.channel.lock();
                if queue.closed {
                    return Err(SyncError::internal("the reader was stopped"));
                }
                if self.channel.capacity == 0 {
                    if queue.wanted > 0 {
                        queue.wanted -= 1;
                        return Ok(());
                    }
                } else if queue.bytes < self.channel.capacity {
                    return Ok(());
                }
            }
            waiting.await;
        }
    }

    /// The last thing a reader says.
    pub fn end(&self, result: Result<ReadEnd, SyncError>) {
        self.channel.lock().events.push_back(Event::End(result));
        (self.channel.wake)();
    }
}

impl TokenSource for Sink {
    fn renew(&self, stale: Option<AccessToken>) -> BoxFuture<'static, Result<AccessToken, SyncError>> {
        let (reply, answer) = oneshot::channel();
        self.channel.lock().events.push_back(Event::NeedToken { stale, reply });
        (self.channel.wake)();
        Box::pin(async move {
            answer.await.unwrap_or_else(|_| Err(SyncError::internal("the run ended while a token was renewed")))
        })
    }
}

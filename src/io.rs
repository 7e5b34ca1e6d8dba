//! Decides where network work happens: in one thread of the backend that never touches Postgres.
//!
//! The thread is started at first use (so after any fork) with all signals blocked, runs a single-threaded tokio, and
//! lives as long as the backend. The backend waits on its own latch and an eventfd at once, so a cancel never waits for a
//! socket: it drops the [`Reading`], which aborts the task.
//!
//! Only [`wait`] here calls Postgres; everything that runs on the thread is free of it.

use crate::error::SyncError;
use crate::extract::sink::{Channel, Event, Sink};
use crate::extract::{Page, ReadEnd};
use crate::http::ClientPool;
use futures_util::future::LocalBoxFuture;
use once_cell::sync::OnceCell;
use pgrx::pg_sys;
use std::collections::HashMap;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

/// Bytes of pages that may wait to be written before their readers pause, all together.
pub const READ_AHEAD_BYTES: usize = 8 << 20;
/// How long a backend that exits waits for its thread.
const STOP_PATIENCE: Duration = Duration::from_millis(100);

type Work = Box<dyn FnOnce(ClientPool) -> LocalBoxFuture<'static, ()> + Send>;

enum Command {
    Start(u64, Work),
    Abort(u64),
    Stop,
}

struct IoThread {
    commands: mpsc::UnboundedSender<Command>,
    /// Counts up whenever there is something to take; an owned file descriptor for the backend's life.
    event: Arc<OwnedFd>,
    stopped: Arc<(Mutex<bool>, Condvar)>,
}

static THREAD: OnceCell<IoThread> = OnceCell::new();
static NEXT_TASK: AtomicU64 = AtomicU64::new(1);

fn thread() -> Result<&'static IoThread, SyncError> {
    THREAD.get_or_try_init(start)
}

fn start() -> Result<IoThread, SyncError> {
    // SAFETY: eventfd has no preconditions; the descriptor it returns is ours.
    let raw = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
    if raw < 0 {
        return Err(SyncError::internal(format!("eventfd: {}", std::io::Error::last_os_error())));
    }
    // SAFETY: `raw` was just opened and is owned by nobody else.
    let event = Arc::new(unsafe { OwnedFd::from_raw_fd(raw) });
    let (commands, inbox) = mpsc::unbounded_channel();
    let stopped = Arc::new((Mutex::new(false), Condvar::new()));
    let done = stopped.clone();
    let spawned = with_signals_blocked(|| {
        std::thread::Builder::new().name("cloudsync io".into()).spawn(move || {
            serve(inbox);
            let (flag, changed) = &*done;
            *flag.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = true;
            changed.notify_all();
        })
    });
    spawned.map_err(|e| SyncError::internal(format!("could not start the I/O thread: {e}")))?;
    // SAFETY: the callback is a plain function and stays loaded with the library.
    unsafe { pg_sys::on_proc_exit(Some(stop_at_exit), pg_sys::Datum::from(0)) };
    Ok(IoThread { commands, event, stopped })
}

/// Threads inherit the mask: Postgres's signals must all reach the backend's own thread.
fn with_signals_blocked<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: both sets are initialised by the calls that fill them, and the old mask is put back.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut old: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut old);
        let result = work();
        libc::pthread_sigmask(libc::SIG_SETMASK, &old, std::ptr::null_mut());
        result
    }
}

/// The thread's life: starts and aborts tasks as told.
fn serve(mut inbox: mpsc::UnboundedReceiver<Command>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    let pool = ClientPool::new();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let mut tasks: HashMap<u64, tokio::task::AbortHandle> = HashMap::new();
        while let Some(command) = inbox.recv().await {
            match command {
                Command::Start(id, work) => {
                    tasks.retain(|_, task| !task.is_finished());
                    let task = tokio::task::spawn_local(work(pool.clone()));
                    tasks.insert(id, task.abort_handle());
                }
                Command::Abort(id) => {
                    if let Some(task) = tasks.remove(&id) {
                        task.abort();
                    }
                }
                Command::Stop => break,
            }
        }
    });
    // Name look-ups may still hang in the blocking pool: they must not hold the backend's exit.
    runtime.shutdown_background();
}

unsafe extern "C-unwind" fn stop_at_exit(_code: std::ffi::c_int, _arg: pg_sys::Datum) {
    let Some(thread) = THREAD.get() else { return };
    let _ = thread.commands.send(Command::Stop);
    let (flag, changed) = &*thread.stopped;
    if let Ok(stopped) = flag.lock() {
        let _ = changed.wait_timeout_while(stopped, STOP_PATIENCE, |stopped| !*stopped);
    }
}

/// A task on the I/O thread; dropping it aborts the task and frees its sockets.
pub struct Reading {
    id: u64,
    channel: Arc<Channel>,
}

impl Reading {
    /// Starts `work`, which pauses while so many bytes of its pages wait. With 0 it makes a call only when
    /// [`Reading::want_more`] allows it.
    pub fn start<F>(read_ahead_bytes: usize, work: F) -> Result<Self, SyncError>
    where
        F: FnOnce(ClientPool, Sink) -> LocalBoxFuture<'static, Result<ReadEnd, SyncError>> + Send + 'static,
    {
        let thread = thread()?;
        let event = thread.event.clone();
        let wake = Box::new(move || notify(&event));
        let channel = Channel::new(read_ahead_bytes, wake);
        let sink = Sink::new(channel.clone());
        let id = NEXT_TASK.fetch_add(1, Ordering::Relaxed);
        let run: Work = Box::new(move |pool| {
            let ending = Ending { sink: sink.clone(), said: false };
            let reader = work(pool, sink);
            Box::pin(async move {
                let mut ending = ending;
                let result = reader.await;
                ending.said = true;
                ending.sink.end(result);
            })
        });
        thread.commands.send(Command::Start(id, run)).map_err(|_| SyncError::internal("the I/O thread has ended"))?;
        Ok(Reading { id, channel })
    }

    /// Takes what is there, without waiting.
    pub fn take(&self) -> Option<Event> {
        self.channel.take()
    }

    /// The same, but only a page.
    pub fn take_page(&self) -> Option<Page> {
        self.channel.take_page()
    }

    pub fn want_more(&self) {
        self.channel.want_more();
    }

    /// Waits for the next event; Postgres's interrupts are honoured while waiting.
    pub fn next(&self) -> Result<Event, SyncError> {
        loop {
            if let Some(event) = self.take() {
                return Ok(event);
            }
            wait()?;
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.channel.close();
        if let Some(thread) = THREAD.get() {
            let _ = thread.commands.send(Command::Abort(self.id));
        }
    }
}

/// Says an end even when the reader panics, so that nobody waits for ever.
struct Ending {
    sink: Sink,
    said: bool,
}

impl Drop for Ending {
    fn drop(&mut self) {
        if !self.said {
            self.sink.end(Err(SyncError::internal("the reader stopped unexpectedly")));
        }
    }
}

fn notify(event: &OwnedFd) {
    let one = 1u64;
    // SAFETY: writes eight bytes from a live variable to a descriptor that `event` keeps open. A full counter (EAGAIN) is
    // as good as a written one.
    unsafe { libc::write(event.as_raw_fd(), (&raw const one).cast(), 8) };
}

/// Waits until any reader of this backend has something, or the latch is set; then honours interrupts.
pub fn wait() -> Result<(), SyncError> {
    let thread = thread()?;
    let fd = thread.event.as_raw_fd();
    // SAFETY: MyLatch is this backend's own; the descriptor is open; both calls may raise, which pgrx turns into a panic
    // that unwinds through code that owns nothing but Rust values.
    unsafe {
        let events = pg_sys::WL_LATCH_SET | pg_sys::WL_SOCKET_READABLE | pg_sys::WL_EXIT_ON_PM_DEATH;
        let got = pg_sys::WaitLatchOrSocket(pg_sys::MyLatch, events as i32, fd, -1, pg_sys::PG_WAIT_EXTENSION);
        if got & pg_sys::WL_LATCH_SET as i32 != 0 {
            pg_sys::ResetLatch(pg_sys::MyLatch);
        }
        if got & pg_sys::WL_SOCKET_READABLE as i32 != 0 {
            let mut count = 0u64;
            libc::read(fd, (&raw mut count).cast(), 8);
        }
    }
    pgrx::check_for_interrupts!();
    Ok(())
}

//! Starts, watches and ends single processes, and keeps one program running across restarts.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::OpenOptions,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tokio::sync::{oneshot, watch};

use crate::{Error, Result, tools};

/// How to start a program.
#[derive(Clone, Debug)]
pub struct Spec {
    /// How messages call it.
    pub name: String,
    /// The binary.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Set in its environment; everything else is inherited.
    pub env: BTreeMap<String, String>,
    /// Variables with this prefix are not inherited.
    pub without_env_prefix: Option<&'static str>,
    /// Where it starts.
    pub working_directory: PathBuf,
    /// Gets its output, appended.
    pub log: PathBuf,
    /// Another user and group to run as.
    pub user: Option<(u32, u32)>,
    /// Asks it to end in good order.
    pub stop_signal: Signal,
    /// Sent when this process dies, so it must end the child quickly and surely.
    pub death_signal: Signal,
}

impl Spec {
    /// A program that ends on SIGTERM and inherits everything.
    pub fn new(name: &str, program: PathBuf, log: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            program,
            args: Vec::new(),
            env: BTreeMap::new(),
            without_env_prefix: None,
            working_directory: tools::workspace_root(),
            log,
            user: None,
            stop_signal: Signal::TERM,
            death_signal: Signal::KILL,
        }
    }

    fn command(&self) -> Result<Command> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(Error::file("open", &self.log))?;
        let errors = log.try_clone().map_err(Error::file("open", &self.log))?;
        let mut command = Command::new(tools::local_stack_binary()?);
        command
            .arg("child")
            .arg(format!("--parent={}", std::process::id()))
            .arg(format!("--death-signal={}", self.death_signal.as_raw()));
        if let Some((uid, gid)) = self.user {
            command.arg(format!("--uid={uid}")).arg(format!("--gid={gid}"));
        }
        command.arg("--").arg(&self.program).args(&self.args);
        if let Some(prefix) = self.without_env_prefix {
            for (name, _) in std::env::vars_os() {
                if name.to_str().is_some_and(|name| name.starts_with(prefix)) {
                    command.env_remove(name);
                }
            }
        }
        command
            .envs(&self.env)
            .current_dir(&self.working_directory)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            // Ctrl-C goes to the terminal's whole process group; children end in our order instead.
            .process_group(0);
        Ok(command)
    }
}

/// A running process. Ended when dropped.
#[derive(Debug)]
pub struct Process {
    spec: Spec,
    pid: Pid,
    /// Held while signalling and while reaping: a pid is ours only until it is reaped.
    reaped: Arc<Mutex<bool>>,
    exit: watch::Receiver<Option<ExitStatus>>,
}

impl Process {
    /// Starts it.
    pub async fn init(spec: Spec) -> Result<Self> {
        let command = spec.command()?;
        let failed = |source| Error::Spawn {
            name: spec.name.clone(),
            source,
        };
        let child = spawn_on_lasting_thread(command).await.map_err(failed)?;
        let pid = i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| failed(std::io::Error::other("the system gave it no usable pid")))?;
        let (send_exit, exit) = watch::channel(None);
        let reaped = Arc::new(Mutex::new(false));
        let shared = Arc::clone(&reaped);
        std::thread::spawn(move || reap(child, pid, &shared, &send_exit));
        Ok(Self {
            spec,
            pid,
            reaped,
            exit,
        })
    }

    /// Its process id, which is the program's own.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// How it ended, if it has.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Sends a signal, unless it has ended.
    pub fn signal(&self, signal: Signal) {
        let reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if !*reaped {
            // It may have ended just now; then there is nobody to tell.
            let _ = rustix::process::kill_process(self.pid, signal);
        }
    }

    /// Waits for its end.
    pub async fn wait(&self) -> Option<ExitStatus> {
        wait_for(self.exit.clone()).await
    }

    /// Asks it to end, waits at most `limit`, then kills it.
    pub async fn stop(&self, limit: Duration) -> Option<ExitStatus> {
        self.signal(self.spec.stop_signal);
        if let Ok(status) = tokio::time::timeout(limit, self.wait()).await {
            return status;
        }
        self.kill9().await
    }

    /// Kills it with -9 and waits until it is gone.
    pub async fn kill9(&self) -> Option<ExitStatus> {
        self.signal(Signal::KILL);
        self.wait().await
    }

    /// Waits for `ready`, and fails as soon as the process ends or `limit` is over, with the end of its log.
    pub async fn ready_within(&self, limit: Duration, ready: impl Future<Output = Result<()>>) -> Result<()> {
        tokio::select! {
            ready = ready => ready,
            status = self.wait() => match status {
                Some(status) => Err(self.ended(status)),
                None => Err(Error::Usage(format!("{} could not be waited for", self.spec.name))),
            },
            () = tokio::time::sleep(limit) => Err(Error::NotReady {
                name: self.spec.name.clone(),
                seconds: limit.as_secs(),
                log: self.spec.log.clone(),
                tail: tail(&self.spec.log),
            }),
        }
    }

    /// The error that tells how it ended.
    pub(crate) fn ended(&self, status: ExitStatus) -> Error {
        Error::Ended {
            name: self.spec.name.clone(),
            status,
            log: self.spec.log.clone(),
            tail: tail(&self.spec.log),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(self.spec.death_signal);
        let limit = Instant::now() + Duration::from_secs(5);
        while self.exit.borrow().is_none() {
            if Instant::now() > limit {
                self.signal(Signal::KILL);
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// A program of the stack, and the process that runs it now. Methods take `&self`, so that a test can crash it while a
/// supervisor watches it.
#[derive(Debug)]
pub struct Program {
    spec: Spec,
    current: watch::Sender<Option<Arc<Process>>>,
    held: watch::Sender<bool>,
}

impl Program {
    /// Nothing runs yet.
    pub fn new(spec: Spec) -> Self {
        Self {
            spec,
            current: watch::Sender::new(None),
            held: watch::Sender::new(false),
        }
    }

    /// How it is started.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Starts a process in place of the last one, which must have ended. Does not wait until it is ready.
    pub async fn start(&self) -> Result<Arc<Process>> {
        let process = Arc::new(Process::init(self.spec.clone()).await?);
        self.current.send_replace(Some(Arc::clone(&process)));
        Ok(process)
    }

    /// While it is held, a supervisor leaves it dead.
    pub fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// Waits until nobody holds it.
    pub(crate) async fn released(&self) {
        // The sender is this program's own, so it cannot be gone.
        let _ = self.held.subscribe().wait_for(|held| !held).await;
    }

    /// The process started last.
    pub fn process(&self) -> Option<Arc<Process>> {
        self.current.borrow().clone()
    }

    /// The pid of the process started last, 0 when there was none.
    pub fn pid(&self) -> u32 {
        self.process().map_or(0, |process| process.pid())
    }

    /// Asks the process to end, and kills it after `limit`.
    pub async fn stop(&self, limit: Duration) -> Option<ExitStatus> {
        match self.process() {
            Some(process) => process.stop(limit).await,
            None => None,
        }
    }

    /// Kills the process with -9.
    pub async fn kill9(&self) -> Option<ExitStatus> {
        match self.process() {
            Some(process) => process.kill9().await,
            None => None,
        }
    }
}

async fn wait_for(mut exit: watch::Receiver<Option<ExitStatus>>) -> Option<ExitStatus> {
    exit.wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|status| *status)
}

/// Waits without reaping first, so that `signal` never hits a pid that the system has given away again.
fn reap(mut child: Child, pid: Pid, reaped: &Mutex<bool>, exit: &watch::Sender<Option<ExitStatus>>) {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while let Err(rustix::io::Errno::INTR) = rustix::process::waitid(WaitId::Pid(pid), options) {}
    let mut reaped = reaped.lock().unwrap_or_else(PoisonError::into_inner);
    *reaped = true;
    exit.send_replace(child.wait().ok());
}

/// A child gets its death signal when the *thread* that started it ends, and runtimes end threads at will. So all
/// children of this process are started by one thread that never ends.
async fn spawn_on_lasting_thread(command: Command) -> std::io::Result<Child> {
    type Job = (Command, oneshot::Sender<std::io::Result<Child>>);
    static SPAWNER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, inbox) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                // Nobody waits for the answer when the caller was cancelled; then the child ends at once.
                if let Err(Ok(mut orphan)) = answer.send(command.spawn()) {
                    let _ = orphan.kill();
                    let _ = orphan.wait();
                }
            }
        });
        jobs
    });
    let (answer, child) = oneshot::channel();
    let gone = || std::io::Error::other("the thread that starts processes has ended");
    spawner.send((command, answer)).map_err(|_| gone())?;
    child.await.map_err(|_| gone())?
}

/// The last lines of a log, for an error message.
fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.get(lines.len().saturating_sub(15)..).unwrap_or_default();
    last.iter().flat_map(|line| ["  ", line, "\n"]).collect()
}

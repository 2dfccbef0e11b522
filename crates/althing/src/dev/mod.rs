//! `althing dev`: a whole cluster of real `serve` processes on loopback, to try things out.
//!
//! ```text
//!   plan ── ports free? directory ours? ──▶ nodes (processes) ──▶ board (what people see)
//!                                             ▲    │ death: start again after 2 s
//!                                             └────┘
//! ```

mod board;
mod nodes;
mod plan;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use board::Board;
use clap::Args;
use nodes::Nodes;
use plan::Plan;

use crate::failure::{Failure, Outcome};
use crate::serve::shutdown_requested;

/// Where the data is kept unless `--data-dir` says otherwise: in sight, so that it is easy to delete.
const DATA_DIR: &str = "althing-dev";
/// How often the nodes are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// How long a cluster may take to serve for the first time.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// `althing dev`.
#[derive(Clone, Debug, Args)]
pub struct DevArgs {
    /// How many nodes
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    nodes: u16,
    /// Where data and logs are kept between runs [default: ./althing-dev]
    #[arg(long, value_name = "DIR", conflicts_with = "ephemeral")]
    data_dir: Option<PathBuf>,
    /// Keep the data in memory and forget it at the end
    #[arg(long)]
    ephemeral: bool,
    /// The first node's client port; its peers use the next one
    #[arg(long, default_value_t = 2379, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    base_port: u16,
    /// Leave a node that dies dead
    #[arg(long)]
    no_restart: bool,
}

/// Runs a cluster until it is told to stop.
///
/// # Errors
/// Something is in the way: a port, the directory, a node that cannot start.
pub fn run(args: &DevArgs) -> Outcome {
    let memory = args.ephemeral.then(memory_dir).transpose()?;
    let dir = match (&memory, &args.data_dir) {
        (Some(memory), _) => memory.0.clone(),
        (None, Some(dir)) => dir.clone(),
        (None, None) => PathBuf::from(DATA_DIR),
    };
    let plan = Plan::new(args, dir)?;
    plan.check_ports()?;
    plan.claim_dir(args)?;
    let runtime = crate::client::runtime()?;
    tokio::task::LocalSet::new().block_on(&runtime, supervise(plan, args))
}

async fn supervise(plan: Plan, args: &DevArgs) -> Outcome {
    let restart = !args.no_restart;
    let mut stop = std::pin::pin!(shutdown_requested(false));
    let mut board = Board::new(&plan);
    let mut nodes = Nodes::start(plan)?;
    let started = Instant::now();
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            why = &mut stop => {
                board.say(&format!("{why}: stopping {}", nodes.plan().count()));
                break;
            }
            _ = looks.tick() => {}
        }
        let now = Instant::now();
        for death in nodes.reap(now, restart && board.shown()) {
            if !board.shown() {
                return Err(not_started(&nodes, death));
            }
            board.death(&nodes, &death, restart);
        }
        for index in nodes.restart_due(now)? {
            board.restarted(&nodes, index);
        }
        if !nodes.any_left() {
            let again =
                if args.ephemeral { "althing dev" } else { "althing dev   (the data is still there)" };
            return Err(Failure::new("every node is dead").next(again));
        }
        board.look(&nodes).await;
        if !board.shown() && started.elapsed() > START_TIMEOUT {
            return Err(no_leader(&nodes));
        }
    }
    // On another thread: our own connections to the nodes must go on to be closed in good order.
    let killed = tokio::task::spawn_blocking(|| nodes.stop()).await.map_err(Failure::new)?;
    for name in killed {
        board.say(&format!("{name} did not stop in time and was killed"));
    }
    board.say("stopped");
    Ok(ExitCode::SUCCESS)
}

fn not_started(nodes: &Nodes, death: nodes::Death) -> Failure {
    let node = &nodes.plan().nodes[death.index];
    Failure::new(format_args!("{} did not start: {}", node.name, death.how))
        .next(format_args!("tail {}", node.log.display()))
}

fn no_leader(nodes: &Nodes) -> Failure {
    let log = &nodes.plan().nodes[0].log;
    Failure::new(format_args!("no leader was elected within {} s", START_TIMEOUT.as_secs()))
        .next(format_args!("tail {}", log.display()))
}

/// A directory in memory, removed when dropped.
struct MemoryDir(PathBuf);

fn memory_dir() -> Result<MemoryDir, Failure> {
    // Linux mounts a file system of shared memory here; elsewhere the temporary directory has to do.
    let shared_memory = PathBuf::from("/dev/shm");
    let parent = if shared_memory.is_dir() { shared_memory } else { std::env::temp_dir() };
    let dir = parent.join(format!("althing-dev-{}", std::process::id()));
    std::fs::create_dir(&dir)
        .map_err(|error| Failure::new(format_args!("cannot make {}: {error}", dir.display())))?;
    Ok(MemoryDir(dir))
}

impl Drop for MemoryDir {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("warning: cannot remove {}: {error}", self.0.display());
        }
    }
}

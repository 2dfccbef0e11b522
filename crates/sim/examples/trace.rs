//! Runs one seed and writes its trace to standard output: `trace SEED`.

use sim::{Options, run_recorded, trace_header};
use trace::Recorder;

fn main() -> std::io::Result<()> {
    let seed = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    let options = Options { buggify: cfg!(feature = "buggify"), ..Options::default() };
    let out = std::io::BufWriter::new(std::io::stdout());
    let recorder = Recorder::lines(&trace_header(&options, seed, env!("CARGO_PKG_VERSION")), out)?;
    eprintln!("{}", run_recorded(&options, seed, recorder));
    Ok(())
}

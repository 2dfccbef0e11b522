//! `althing repair-quorum`: a survivor of a lost quorum goes on alone, because a person says so.

use std::path::PathBuf;

use clap::Args;
use node::{Patient, Survey};

use crate::failure::{Failure, Outcome, chain};
use crate::output::{self, table};

/// `althing repair-quorum`.
#[derive(Clone, Debug, Args)]
pub struct RepairArgs {
    /// The data directory of a stopped member
    #[arg(long)]
    data_dir: PathBuf,
    /// Do it: this member becomes the only one, and what it does not hold is lost
    #[arg(long)]
    i_accept_data_loss: bool,
}

/// Says what the data holds and what would be lost; makes the member the only one if that is accepted.
///
/// # Errors
/// Data that cannot be repaired, or no consent.
pub fn run(args: &RepairArgs) -> Outcome {
    let dir = args.data_dir.display();
    let failed = |error: node::RepairError| Failure::new(chain(&error));
    let patient = Patient::open(&args.data_dir).map_err(failed)?;
    show(patient.survey())?;
    if !args.i_accept_data_loss {
        return Err(Failure::new("nothing was changed").next(format_args!(
            "if no quorum can be brought back, and no survivor's log is longer: \
             althing repair-quorum --data-dir {dir} --i-accept-data-loss"
        )));
    }
    patient.go_on_alone().map_err(failed)?;
    output::line(format_args!(
        "done: start this member as before. Never start the others on their old data; \
         add them anew, with empty directories: althing members add NAME --peer-urls URL"
    ))
}

fn show(survey: &Survey) -> Outcome {
    output::line(format_args!(
        "member {} of cluster {:x}: its log ends at term {}, slot {}; its state holds up to slot {}",
        survey.member, survey.cluster, survey.last_term, survey.last, survey.applied
    ))?;
    if survey.damaged > 0 {
        output::line(format_args!("{} slots above are damaged and would be given up", survey.damaged))?;
    }
    let mut rows = table(&["id", "name", "peers", ""]);
    for member in &survey.members {
        let fate = if member.id == survey.member { "stays" } else { "would be removed" };
        rows.add_row([
            member.id.to_string(),
            member.name.clone(),
            member.peer_urls.join(","),
            fate.to_owned(),
        ]);
    }
    output::line(rows)?;
    output::line(
        "A quorum of the others may have acknowledged writes that are not in this log: they would be lost. Nobody can \
         tell from here.\nLook at the data of every survivor, and repair the one whose log ends at the latest term, and \
         of these at the latest slot.",
    )
}

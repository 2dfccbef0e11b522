//! Who a member is when it starts.
//!
//! ```text
//!   member/identity ──▶ that        (the flags only must not contradict it)
//!   empty directory ──▶ joins: ask the members     founds: as the flags say, unless the members know that it ran before
//! ```

use std::path::Path;

use storage::OpenLogError;

use crate::config::{Config, StartError, Storage};
use crate::member_file::MemberIdentity;
use crate::{JoinError, join};

/// Who this member is.
pub(crate) struct Whose {
    pub(crate) identity: MemberIdentity,
    /// Whether its data directory says so.
    pub(crate) is_written: bool,
}

/// Finds out who this member is: its data directory says so, or other members, or its flags. Writes nothing.
///
/// # Errors
/// [`StartError`] if the data is somebody else's, or nobody can tell.
pub(crate) fn identify(config: &Config) -> Result<Whose, StartError> {
    let Storage::Directory(directory) = &config.storage else {
        let identity = match config.joins {
            true => join::discover(config)?.without_data()?,
            false => founder(config)?,
        };
        return Ok(Whose { identity, is_written: false });
    };
    let member = directory.join("member");
    let log_path = member.join("log");
    if let Some(found) = MemberIdentity::read(&member)? {
        check_same_member(&found, config, &log_path)?;
        if found.is_removed {
            return Err(StartError::Removed { path: directory.display().to_string() });
        }
        return Ok(Whose { identity: found, is_written: true });
    }
    // Without a log it can have forgotten what it voted for; a log says itself whether it is this member's.
    let is_new = !holds_log(&log_path);
    let identity = match (config.joins, is_new) {
        (true, true) => join::discover(config)?.without_data()?,
        (true, false) => join::discover(config).map(|found| found.identity).or_else(|_| founder(config))?,
        (false, _) => founder(config)?,
    };
    if is_new && join::has_run_before(config, identity.member) {
        return Err(JoinError::StartedBefore { id: identity.member }.into());
    }
    Ok(Whose { identity, is_written: false })
}

/// Who a member is that founds the cluster of its flags.
fn founder(config: &Config) -> Result<MemberIdentity, StartError> {
    Ok(MemberIdentity {
        cluster: config.cluster.id,
        member: config.cluster.member(&config.name)?.id,
        token: config.cluster.token.clone(),
        is_founder: true,
        is_removed: false,
        known: config.cluster.membership(),
    })
}

/// Checks that the flags do not speak of another member or cluster. Otherwise what they say of members is of no
/// importance any more.
fn check_same_member(found: &MemberIdentity, config: &Config, log_path: &Path) -> Result<(), StartError> {
    let refused = |source| StartError::Log { path: log_path.display().to_string(), source };
    let by_flags = config.cluster.member(&config.name)?.id;
    let is_anothers = config.cluster.members.iter().any(|member| member.id == found.member);
    if found.token != config.cluster.token {
        let (found, expected) = (found.cluster, config.cluster.id);
        return Err(refused(OpenLogError::OtherCluster { found, expected }));
    }
    if is_anothers && by_flags != found.member {
        return Err(refused(OpenLogError::OtherMember { found: found.member, expected: by_flags }));
    }
    if found.is_founder && !config.joins && found.cluster != config.cluster.id {
        tracing::warn!(
            path = %log_path.display(),
            "the flags describe another initial cluster than this member was founded with; its data counts"
        );
    }
    Ok(())
}

/// Whether a member has kept its log here before.
fn holds_log(directory: &Path) -> bool {
    let is_segment = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("log-");
    std::fs::read_dir(directory).is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(is_segment)))
}

//! Which file an inode number means, and what directories would look like without what is not synced.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use types::Rng;

pub(super) const ROOT: u64 = 1;

/// The tree of names. Paths are those of the files below.
#[derive(Debug)]
pub(super) struct Names {
    /// Where removed files wait until their removal is synced.
    trash: PathBuf,
    by_inode: BTreeMap<u64, PathBuf>,
    by_path: BTreeMap<PathBuf, u64>,
    next_inode: u64,
    next_trash: u64,
    /// What no sync of a directory has made durable, in order.
    unsynced: Vec<Change>,
}

/// One change of a directory that can be undone.
#[derive(Debug)]
enum Change {
    Created(PathBuf),
    CreatedDirectory(PathBuf),
    Removed { path: PathBuf, kept: PathBuf },
    RemovedDirectory(PathBuf),
    Renamed { from: PathBuf, to: PathBuf, replaced: Option<PathBuf> },
}

impl Change {
    fn concerns(&self, directory: &Path) -> bool {
        let within = |path: &Path| path.parent() == Some(directory);
        match self {
            Change::Created(path) | Change::CreatedDirectory(path) | Change::RemovedDirectory(path) => {
                within(path)
            }
            Change::Removed { path, .. } => within(path),
            Change::Renamed { from, to, .. } => within(from) || within(to),
        }
    }
}

impl Names {
    pub(super) fn new(root: &Path, trash: &Path) -> Names {
        Names {
            trash: trash.to_owned(),
            by_inode: BTreeMap::from([(ROOT, root.to_owned())]),
            by_path: BTreeMap::from([(root.to_owned(), ROOT)]),
            next_inode: ROOT + 1,
            next_trash: 0,
            unsynced: Vec::new(),
        }
    }

    /// The file that an inode number means.
    pub(super) fn path(&self, inode: u64) -> io::Result<PathBuf> {
        self.by_inode.get(&inode).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The inode number of a file, which it keeps for as long as it lives.
    pub(super) fn inode(&mut self, path: &Path) -> u64 {
        if let Some(inode) = self.by_path.get(path) {
            return *inode;
        }
        let inode = self.next_inode;
        self.next_inode += 1;
        self.bind(inode, path);
        inode
    }

    fn bind(&mut self, inode: u64, path: &Path) {
        self.by_inode.insert(inode, path.to_owned());
        self.by_path.insert(path.to_owned(), inode);
    }

    pub(super) fn created(&mut self, path: &Path) {
        self.unsynced.push(Change::Created(path.to_owned()));
    }

    pub(super) fn create_directory(&mut self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)?;
        self.unsynced.push(Change::CreatedDirectory(path.to_owned()));
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let kept = self.put_aside(path)?;
        self.unsynced.push(Change::Removed { path: path.to_owned(), kept });
        Ok(())
    }

    pub(super) fn remove_directory(&mut self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)?;
        self.forget(path);
        self.unsynced.push(Change::RemovedDirectory(path.to_owned()));
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let replaced = if to.is_file() { Some(self.put_aside(to)?) } else { None };
        self.move_names(from, to)?;
        self.unsynced.push(Change::Renamed { from: from.to_owned(), to: to.to_owned(), replaced });
        Ok(())
    }

    /// Makes a directory's changes durable.
    pub(super) fn sync(&mut self, directory: &Path) -> io::Result<()> {
        let (synced, rest) =
            std::mem::take(&mut self.unsynced).into_iter().partition(|change| change.concerns(directory));
        self.unsynced = rest;
        let synced: Vec<Change> = synced;
        synced.into_iter().try_for_each(|change| match change {
            Change::Removed { kept, .. } | Change::Renamed { replaced: Some(kept), .. } => {
                self.destroy(&kept)
            }
            _ => Ok(()),
        })
    }

    /// Makes everything durable.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        std::mem::take(&mut self.unsynced).into_iter().try_for_each(|change| match change {
            Change::Removed { kept, .. } | Change::Renamed { replaced: Some(kept), .. } => {
                self.destroy(&kept)
            }
            _ => Ok(()),
        })
    }

    /// Undoes the last of what is not synced: all of it, or some.
    pub(super) fn lose(&mut self, rng: &mut Rng) -> io::Result<()> {
        let kept = usize::try_from(rng.below(self.unsynced.len() as u64 + 1)).unwrap_or_default();
        let kept = if rng.below(3) == 0 { 0 } else { kept };
        while self.unsynced.len() > kept {
            if let Some(change) = self.unsynced.pop() {
                match self.undo(change) {
                    // The directory that it stood in is gone, durably.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    undone => undone?,
                }
            }
        }
        self.settle()
    }

    fn undo(&mut self, change: Change) -> io::Result<()> {
        match change {
            Change::Created(path) => self.put_aside(&path).and_then(|kept| self.destroy(&kept)),
            // What was synced inside it made it durable, too.
            Change::CreatedDirectory(path) => match fs::remove_dir(&path) {
                Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => Err(error),
                Err(_) => Ok(()),
                Ok(()) => {
                    self.forget(&path);
                    Ok(())
                }
            },
            Change::Removed { path, kept } => self.move_names(&kept, &path),
            Change::RemovedDirectory(path) => fs::create_dir(path),
            Change::Renamed { from, to, replaced } => {
                self.move_names(&to, &from)?;
                replaced.map_or(Ok(()), |kept| self.move_names(&kept, &to))
            }
        }
    }

    fn put_aside(&mut self, path: &Path) -> io::Result<PathBuf> {
        let kept = self.trash.join(self.next_trash.to_string());
        self.next_trash += 1;
        self.move_names(path, &kept)?;
        Ok(kept)
    }

    fn destroy(&mut self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)?;
        self.by_path.remove(path);
        Ok(())
    }

    fn forget(&mut self, path: &Path) {
        if let Some(inode) = self.by_path.remove(path) {
            self.by_inode.remove(&inode);
        }
    }

    fn move_names(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)?;
        let moved: Vec<(PathBuf, u64)> = self
            .by_path
            .iter()
            .filter(|(path, _)| path.starts_with(from))
            .map(|(path, inode)| (path.clone(), *inode))
            .collect();
        for (path, inode) in moved {
            self.by_path.remove(&path);
            let rest = path.strip_prefix(from).unwrap_or(Path::new(""));
            let new = if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) };
            self.bind(inode, &new);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        directory: tempfile::TempDir,
        names: Names,
    }

    fn world() -> World {
        let directory = tempfile::tempdir().unwrap();
        let (root, trash) = (directory.path().join("root"), directory.path().join("trash"));
        fs::create_dir(&root).unwrap();
        fs::create_dir(&trash).unwrap();
        World { names: Names::new(&root, &trash), directory }
    }

    impl World {
        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join("root").join(name)
        }
        fn write(&mut self, name: &str, content: &str) {
            let path = self.path(name);
            fs::write(&path, content).unwrap();
            self.names.created(&path);
        }
        fn sync(&mut self) {
            self.names.sync(&self.directory.path().join("root")).unwrap();
        }
        /// Loses power with throws that keep nothing.
        fn lose_all(&mut self) {
            let seed = (0..).find(|seed| {
                let mut rng = Rng::new(*seed);
                rng.below(self.names.unsynced.len() as u64 + 1);
                rng.below(3) == 0
            });
            self.names.lose(&mut Rng::new(seed.unwrap())).unwrap();
        }
        fn read(&self, name: &str) -> Option<String> {
            fs::read_to_string(self.path(name)).ok()
        }
    }

    #[test]
    fn without_a_sync_of_the_directory_everything_is_as_before() {
        let mut world = world();
        world.write("a", "old a");
        world.write("b", "old b");
        world.write("c", "old c");
        world.sync();
        world.write("a.new", "new a");
        world.names.rename(&world.path("a.new"), &world.path("a")).unwrap();
        world.names.remove(&world.path("b")).unwrap();
        world.names.rename(&world.path("c"), &world.path("d")).unwrap();
        world.lose_all();
        assert_eq!(world.read("a").as_deref(), Some("old a"));
        assert_eq!(world.read("b").as_deref(), Some("old b"));
        assert_eq!(world.read("c").as_deref(), Some("old c"));
        assert_eq!((world.read("a.new"), world.read("d")), (None, None));
    }

    #[test]
    fn what_was_synced_stays() {
        let mut world = world();
        world.write("a", "1");
        world.names.rename(&world.path("a"), &world.path("b")).unwrap();
        world.sync();
        world.lose_all();
        assert_eq!(world.read("b").as_deref(), Some("1"));
        assert_eq!(fs::read_dir(world.directory.path().join("trash")).unwrap().count(), 0);
    }

    #[test]
    fn what_stood_in_a_directory_whose_removal_was_synced_stays_away() {
        let mut world = world();
        world.names.create_directory(&world.path("d")).unwrap();
        world.write("d/f", "1");
        world.names.remove(&world.path("d/f")).unwrap();
        world.names.remove_directory(&world.path("d")).unwrap();
        world.sync();
        world.lose_all();
        assert!(!world.path("d").exists());
    }

    #[test]
    fn an_inode_follows_its_file() {
        let mut world = world();
        world.write("a", "1");
        let inode = world.names.inode(&world.path("a"));
        world.names.rename(&world.path("a"), &world.path("b")).unwrap();
        assert_eq!(world.names.path(inode).unwrap(), world.path("b"));
        assert_ne!(world.names.inode(&world.path("a")), inode);
        world.names.remove(&world.path("b")).unwrap();
        assert_eq!(fs::read_to_string(world.names.path(inode).unwrap()).unwrap(), "1");
    }
}

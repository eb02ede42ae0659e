//! Sessions of TensorBoards: begun when somebody opens one, and begun anew when what it shows is another.
//!
//! What a container has mounted is settled when it is made, so another choice of members is another
//! session, at the same address. It is accepted in the transaction that asks for the end of the one before:
//! there is no moment at which a crash could leave a TensorBoard without.

use super::{
    Invalid, ServiceError, Services,
    accepting::needs,
    job_mounts::{self, Mounts},
    job_rules::{check_image, check_machine_type},
    tensorboard_logs::{self, Found, Homes},
};
use crate::{
    domain::{
        board::DiskRoom,
        caller::{Action, Caller},
        id::{JobId, TensorBoardId, UserId},
        machine_type::{Catalogue, MachineType},
        notebook::Activity,
        tensorboard::{IdleLimit, LOGS, PORT, TensorBoard},
        web_name::{Target, prefix},
        workload::{Command, Kind, Retries, Spec, Workspace},
    },
    store::{
        Tx, tensorboard_sessions, tensorboards,
        workloads::{self, NewWorkload},
    },
};

/// It is small, somebody waits for it, and it is gone when nobody looks: it goes before what takes hours.
const PRIORITY: i32 = 100;
/// Less memory than this is not taken by itself: what it reads, it keeps in memory.
const ENOUGH_MEMORY: u64 = 1 << 30;

impl Services {
    /// Starts a TensorBoard where it does not run; one that does stays as it is.
    pub(super) fn start_in(
        &self,
        tx: &Tx<'_>,
        caller: &Caller,
        board: &TensorBoard,
        homes: &Homes,
    ) -> Result<(), ServiceError> {
        if board.live().is_some() {
            return Ok(());
        }
        if *self.board.disk() == DiskRoom::Full {
            return Err(ServiceError::DiskFull);
        }
        self.check_waiting(tx, caller, &Kind::TensorBoard(board.id.clone()))?;
        self.begin_showing(tx, board, &caller.user, tensorboard_logs::find(tx, board, homes)?, None)
    }

    /// Looks what [`Self::open_in`] needs to know of the disk.
    pub(super) async fn homes_to_show(&self, caller: &Caller, id: &TensorBoardId) -> Result<Homes, ServiceError> {
        let board = self.find_tensorboard(caller, id).await?;
        self.homes_shown(&board.team, board.seq, Vec::new()).await
    }

    /// Starts a TensorBoard that somebody opens, where it does not run.
    pub(super) fn open_in(
        &self,
        tx: &Tx<'_>,
        caller: &Caller,
        id: &TensorBoardId,
        homes: &Homes,
    ) -> Result<(), ServiceError> {
        caller.may(Action::StartTensorBoard)?;
        self.start_in(tx, caller, &super::tensorboards::find(tx, caller, id)?, homes)
    }

    /// Lets a TensorBoard that runs show what its members mean now. Says whether that is anything else than
    /// it shows already.
    pub(super) fn renew_in(
        &self,
        tx: &Tx<'_>,
        board: &TensorBoard,
        user: Option<&UserId>,
        homes: &Homes,
    ) -> Result<bool, ServiceError> {
        let Some(live) = board.live() else { return Ok(false) };
        let found = tensorboard_logs::find(tx, board, homes)?;
        if found.logs == live.logs {
            return Ok(false);
        }
        let now = self.clock.now();
        let before = &live.session.workload;
        // Whoever changes it is somebody who looks; what changes by itself is not.
        let activity = match user {
            Some(_) => Some(Activity { at: now, what: "its members were changed".to_owned() }),
            None => live.session.activity.clone(),
        };
        workloads::ask_to_stop(tx, before.seq, now)?;
        self.begin_showing(tx, board, user.unwrap_or(&before.user), found, activity.as_ref())?;
        Ok(true)
    }

    /// Lets a TensorBoard that runs show what its members mean now, if that is something else by now: an
    /// experiment was started again, a job deleted.
    ///
    /// # Errors
    /// When its settings fit this box no more, or the store cannot be written.
    pub(crate) async fn renew_tensorboard(&self, board: &TensorBoard) -> Result<bool, ServiceError> {
        let homes = self.homes_shown(&board.team, board.seq, Vec::new()).await?;
        let (services, team, id) = (self.clone(), board.team.clone(), board.id.clone());
        self.store
            .write(move |tx| match tensorboards::get(tx, &team, &id)? {
                Some(board) => services.renew_in(tx, &board, None, &homes),
                None => Ok(false),
            })
            .await
    }

    /// Says whether a TensorBoard that runs shows something else than its members mean now.
    pub(crate) async fn is_outdated(&self, board: &TensorBoard) -> Result<bool, ServiceError> {
        let Some(live) = board.live() else { return Ok(false) };
        let homes = self.homes_shown(&board.team, board.seq, Vec::new()).await?;
        let (board, shown) = (board.clone(), live.logs.clone());
        self.store.read(move |connection| Ok(tensorboard_logs::find(connection, &board, &homes)?.logs != shown)).await
    }

    fn begin_showing(
        &self,
        tx: &Tx<'_>,
        board: &TensorBoard,
        user: &UserId,
        found: Found,
        activity: Option<&Activity>,
    ) -> Result<(), ServiceError> {
        let (now, id) = (self.clock.now(), JobId::mint(&*self.ids));
        let machine = self.tensorboard_machine(board)?;
        let mounts = Mounts { inputs: found.inputs, ..Mounts::default() };
        let spec = Spec {
            image: check_image(Some(self.tensorboard_image(board)), false, &id)?,
            registry: board.choice.registry.clone(),
            command: Command::Exec(command(&board.id)),
            env: Default::default(),
            working_directory: Some("/".to_owned()),
            workspace: Workspace::Empty,
            build: None,
            ports: Vec::new(),
            shared_memory_bytes: None,
            user: None,
            machine_type: machine.name.clone(),
            inputs: mounts.inputs.iter().map(|(_, input)| input.clone()).collect(),
            outputs: Vec::new(),
            keep_packages: false,
        };
        let new = NewWorkload {
            id,
            kind: Kind::TensorBoard(board.id.clone()),
            team: board.team.clone(),
            user: user.clone(),
            project: board.project.clone(),
            name: board.name.clone(),
            spec,
            needs: needs(&machine),
            priority: PRIORITY,
            time_limit: None,
            retries: Retries::default(),
            upload: None,
        };
        let seq = workloads::insert(tx, &new, now)?;
        tensorboard_sessions::insert(tx, seq, self.tensorboard_idle(board), &found.logs)?;
        if let Some(activity) = activity {
            tensorboard_sessions::active(tx, seq, activity)?;
        }
        job_mounts::insert(tx, (seq, &new.id, &new.name), &board.team, &mounts, now)?;
        let data = serde_json::json!({ "state": "pending" });
        crate::store::events::append(tx, &board.team, "tensorboard", board.id.as_str(), "state", data, now)?;
        Ok(())
    }

    /// Says why a TensorBoard cannot begin a session, as it is set and as this box is; `None` when it can.
    pub(crate) fn tensorboard_problem(&self, board: &TensorBoard) -> Option<String> {
        // Images are held to their rules when they are chosen; machine types come and go with the settings of
        // the box and its GPUs.
        self.tensorboard_machine(board).err().map(|invalid| invalid.message)
    }

    /// Returns the machine type of the next session.
    ///
    /// # Errors
    /// [`Invalid`] when this box has no such machine type any more.
    pub(super) fn tensorboard_machine(&self, board: &TensorBoard) -> Result<MachineType, Invalid> {
        machine(board.choice.machine_type.as_deref(), &self.board.catalogue())
    }

    /// Returns the image that the next session runs.
    pub(super) fn tensorboard_image(&self, board: &TensorBoard) -> String {
        board.choice.image.clone().unwrap_or_else(|| self.settings.tensorboards.image.clone())
    }

    /// Returns after how long the next session ends when nobody looks; `None` is never.
    pub(super) fn tensorboard_idle(&self, board: &TensorBoard) -> Option<std::time::Duration> {
        board.choice.idle.map_or(self.settings.tensorboards.idle, IdleLimit::span)
    }
}

/// Returns the machine type that is meant: where none is said, the smallest without a GPU.
pub(super) fn machine(named: Option<&str>, catalogue: &Catalogue) -> Result<MachineType, Invalid> {
    if named.is_some() {
        return check_machine_type(named, catalogue);
    }
    let without_gpus = || catalogue.types().iter().filter(|machine| machine.gpus == 0);
    let size = |machine: &&MachineType| (machine.cpu_millis, machine.memory_bytes);
    let small = without_gpus().filter(|machine| machine.memory_bytes >= ENOUGH_MEMORY).min_by_key(size);
    let chosen = small.or_else(|| without_gpus().max_by_key(size));
    Ok(chosen.unwrap_or_else(|| catalogue.default_type()).clone())
}

/// Returns what a session runs. It knows beneath which path it is reached, on a host of its own as on any
/// other. Files of runs that are still writing grow, and there may be several in a directory: both are
/// looked at again every few seconds.
fn command(id: &TensorBoardId) -> Vec<String> {
    let target = Target { id: id.as_str().parse().expect("ids are letters and digits"), port: None };
    let port = PORT.to_string();
    [
        "tensorboard",
        "--logdir",
        LOGS,
        "--host",
        "0.0.0.0",
        "--port",
        &port,
        "--path_prefix",
        prefix(&target).trim_end_matches('/'),
        "--reload_interval",
        "5",
        "--reload_multifile",
        "true",
    ]
    .map(str::to_owned)
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::gpu::Inventory;

    #[test]
    fn it_runs_on_the_smallest_machine_that_is_enough_unless_told_otherwise() {
        let catalogue = Catalogue::generate(16, 64 << 30, &Inventory::default());
        let chosen = machine(None, &catalogue).unwrap();
        assert_eq!(chosen.gpus, 0);
        for other in catalogue.types().iter().filter(|other| other.memory_bytes >= ENOUGH_MEMORY && other.gpus == 0) {
            assert!(chosen.cpu_millis <= other.cpu_millis, "{} before {}", chosen.name, other.name);
        }
        let largest = &catalogue.types().last().unwrap().name;
        assert_eq!(&machine(Some(largest), &catalogue).unwrap().name, largest);
        assert_eq!(machine(Some("cray"), &catalogue).unwrap_err().code, "unknown_machine_type");
    }

    #[test]
    fn it_knows_its_path_and_tells_nobody_else() {
        let command = command(&"tb0123456789".parse().unwrap()).join(" ");
        assert!(command.contains(" --path_prefix /w/tb0123456789 "), "{command}");
    }
}

//! Bulk bytes on disk: logs, workspaces, artifacts, uploads.
//!
//! Everything here is plain, blocking file code that knows no database, no engine and no HTTP; async
//! callers run it where blocking is allowed. What a stranger made, be it an archive, a repository or
//! whatever a container left, is reached only through [`beneath`]. A thing that is being made has a
//! name of its own until it is whole.

pub mod archive;
pub mod artifact;
mod artifact_files;
pub mod beneath;
pub mod bundle;
pub mod copy_tree;
pub mod dataset;
mod descent;
pub mod disk;
pub mod files;
pub mod git;
pub mod layout;
pub mod log;
mod pack;
mod remove;
pub mod s3;
pub mod session_data;
pub mod upload;
pub mod workspace;

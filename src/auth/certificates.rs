//! The certificate that a handshake shows: one of the box's own authority, for the names that it is
//! reached by, or one that the admin gives. Either is exchanged while the daemon runs.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    authority::{AUTHORITY, Authority},
    certificate::{self, About, Certificate, CertificateError},
};
use crate::domain::{
    id::IdSource,
    time::{Clock, Timestamp},
};

/// How long before its end one of our own is exchanged.
const EARLY: Duration = Duration::from_secs(30 * 86_400);
/// How long before its end the admin is told of theirs.
const WARN: Duration = Duration::from_secs(14 * 86_400);
/// Most addresses that are learnt by being reached at them.
const LEARNT: usize = 64;

/// What handshakes show. Cheap to ask; [`Certificates::look`] touches the disk.
pub struct Certificates {
    source: Source,
    shown: Arc<Shown>,
    acceptor: TlsAcceptor,
    clock: Arc<dyn Clock>,
}

enum Source {
    Own(Mutex<Own>),
    Given(Mutex<Given>),
}

struct Own {
    authority: Authority,
    names: BTreeSet<String>,
    learnt: usize,
}

struct Given {
    certificate: PathBuf,
    key: PathBuf,
    /// Hash of both files as they were looked at last, good or not.
    seen: blake3::Hash,
    warned: bool,
}

/// Whose the certificate is that is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// Signed by this box's authority, whose own certificate is good until then.
    Own { authority_ends: Timestamp },
    /// In the admin's file.
    Given(PathBuf),
}

/// The present certificate.
#[derive(Debug)]
struct Shown(RwLock<Certificate>);

impl Shown {
    fn get(&self) -> Certificate {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, certificate: Certificate) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = certificate;
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).key))
    }
}

impl Certificates {
    /// Shows certificates of the authority in the directory `keys`, which is made if there is none, for
    /// `names`: host names and addresses. Blocks on the disk.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn own(
        keys: &Path,
        names: BTreeSet<String>,
        ids: &dyn IdSource,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CertificateError> {
        let now = clock.now();
        let authority = Authority::open_or_create(keys, ids, now)?;
        let shown = authority.sign(&names, now)?;
        let own = Own { authority, names, learnt: 0 };
        Ok(Self::showing(Source::Own(Mutex::new(own)), shown, clock))
    }

    /// Shows the admin's certificate. Blocks on the disk.
    ///
    /// # Errors
    /// [`CertificateError`], which names the file.
    pub fn given(certificate: PathBuf, key: PathBuf, clock: Arc<dyn Clock>) -> Result<Self, CertificateError> {
        let shown = Certificate::read(&certificate, &key, clock.now())?;
        // Looked at once more the first time.
        let given = Given { certificate, key, seen: blake3::hash(b""), warned: false };
        Ok(Self::showing(Source::Given(Mutex::new(given)), shown, clock))
    }

    fn showing(source: Source, certificate: Certificate, clock: Arc<dyn Clock>) -> Self {
        let shown = Arc::new(Shown(RwLock::new(certificate)));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has the ciphers of TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&shown) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { source, shown, acceptor: TlsAcceptor::from(Arc::new(config)), clock }
    }

    /// Speaks TLS on a connection that came in. Takes as long as the other side likes.
    ///
    /// # Errors
    /// What the handshake failed for.
    pub async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> std::io::Result<TlsStream<S>> {
        self.acceptor.accept(stream).await
    }

    /// Returns the certificate that is shown.
    pub fn shown(&self) -> Certificate {
        self.shown.get()
    }

    /// Says whose it is.
    pub fn whose(&self) -> Whose {
        match &self.source {
            Source::Own(own) => Whose::Own { authority_ends: held(own).authority.ends },
            Source::Given(given) => Whose::Given(held(given).certificate.clone()),
        }
    }

    /// Returns the certificate of the box's authority as PEM; `None` when the admin's is shown.
    pub fn authority_pem(&self) -> Option<String> {
        match &self.source {
            Source::Own(own) => Some(held(own).authority.pem().to_owned()),
            Source::Given(_) => None,
        }
    }

    /// Looks until when the authority in the directory `keys` is good, and changes nothing.
    ///
    /// # Errors
    /// What keeps its certificate from being read.
    pub fn authority_ends(keys: &Path) -> std::io::Result<Timestamp> {
        let invalid = || std::io::Error::from(std::io::ErrorKind::InvalidData);
        let pem = std::fs::read(keys.join(AUTHORITY))?;
        let der = CertificateDer::from_pem_slice(&pem).map_err(|_| invalid())?;
        About::of(&der).map(|about| about.ends).ok_or_else(invalid)
    }

    /// Takes note that somebody reached this box at an address: it is a name of the box from now on.
    /// Addresses come and go while the daemon runs, so there is no list of them to read at the start.
    pub fn reached_at(&self, address: IpAddr) {
        let Source::Own(own) = &self.source else { return };
        let name = address.to_canonical().to_string();
        let mut own = held(own);
        if own.learnt >= LEARNT || own.names.contains(&name) {
            return;
        }
        own.names.insert(name);
        own.learnt += 1;
        match own.authority.sign(&own.names, self.clock.now()) {
            Ok(certificate) => self.shown.set(certificate),
            Err(error) => tracing::warn!(%error, "cannot make a certificate for {address}"),
        }
    }

    /// Exchanges what nears its end, or what the admin has changed. Blocks on the disk. What cannot be
    /// exchanged goes on being shown.
    ///
    /// # Errors
    /// [`CertificateError`]; once for each change of the admin's files.
    pub fn look(&self) -> Result<(), CertificateError> {
        let now = self.clock.now();
        match &self.source {
            Source::Own(own) => {
                let mut own = held(own);
                if own.authority.is_due(now) {
                    own.authority.certify(now)?;
                    tracing::warn!("this box's authority has a new certificate: let users fetch it from the keys page");
                }
                let shown = self.shown.get();
                if now < shown.begins || shown.ends <= now.plus(EARLY) {
                    self.shown.set(own.authority.sign(&own.names, now)?);
                    tracing::info!("made a new certificate, as the one before was about to end");
                }
            }
            Source::Given(given) => {
                let mut given = held(given);
                self.look_at_given(&mut given, now)?;
                let ends = self.shown.get().ends;
                if ends <= now.plus(WARN) && !given.warned {
                    given.warned = true;
                    tracing::warn!("the certificate in {} ends at {ends}: renew it", given.certificate.display());
                }
            }
        }
        Ok(())
    }

    fn look_at_given(&self, given: &mut Given, now: Timestamp) -> Result<(), CertificateError> {
        let (chain, key) = match (certificate::read(&given.certificate), certificate::read(&given.key)) {
            (Ok(chain), Ok(key)) => (chain, key),
            (Err(error), _) | (_, Err(error)) => {
                // A file that is being exchanged may be away; one that stays away is told of once.
                let gone = blake3::hash(error.to_string().as_bytes());
                return if std::mem::replace(&mut given.seen, gone) == gone { Ok(()) } else { Err(error) };
            }
        };
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(chain.len() as u64).to_le_bytes()).update(&chain).update(&key);
        let seen = hasher.finalize();
        if std::mem::replace(&mut given.seen, seen) == seen {
            return Ok(());
        }
        let read = Certificate::of_pem((&given.certificate, &chain), (&given.key, &key), now)?;
        if read.key.cert != self.shown.get().key.cert {
            tracing::info!("the certificate in {} was read again", given.certificate.display());
        }
        given.warned = false;
        self.shown.set(read);
        Ok(())
    }
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").field("shown", &self.shown.get()).finish()
    }
}

/// Nothing that is held can be half changed.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

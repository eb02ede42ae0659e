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
    Own(Box<Mutex<Own>>),
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
        Ok(Self::showing(Source::Own(Box::new(Mutex::new(own))), shown, clock))
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

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::PermissionsExt,
        sync::atomic::{AtomicI64, Ordering},
    };

    use rcgen::KeyPair;
    use rustls::{
        ClientConfig, RootCertStore,
        pki_types::{ServerName, UnixTime},
        time_provider::TimeProvider,
    };
    use tokio_rustls::TlsConnector;

    use super::*;

    const DAY: i64 = 86_400;

    struct Zeroes;
    impl IdSource for Zeroes {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(0);
        }
    }

    /// A clock that the test turns, in seconds since 1970.
    #[derive(Debug)]
    struct Turned(AtomicI64);
    impl Clock for Turned {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Ordering::SeqCst) * 1_000_000)
        }
    }
    impl TimeProvider for Turned {
        fn current_time(&self) -> Option<UnixTime> {
            let seconds = u64::try_from(self.0.load(Ordering::SeqCst)).unwrap();
            Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
        }
    }

    fn noon() -> Arc<Turned> {
        Arc::new(Turned(AtomicI64::new(1_769_860_800)))
    }

    fn own(keys: &Path, clock: &Arc<Turned>) -> Result<Certificates, CertificateError> {
        let names = ["127.0.0.1", "localhost", "gpu.lab.example"].map(str::to_owned).into();
        Certificates::own(keys, names, &Zeroes, Arc::clone(clock) as Arc<dyn Clock>)
    }

    /// Says whether a client that trusts `pem` would speak with the box under `name`.
    async fn trusts(certificates: &Certificates, pem: &str, name: &str, clock: &Arc<Turned>) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_details(
            Arc::new(ring::default_provider()),
            Arc::clone(clock) as Arc<dyn TimeProvider>,
        );
        let config = config.with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let (client, server) = tokio::io::duplex(64 << 10);
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let (connected, _) = tokio::join!(connector.connect(name, client), certificates.handshake(server));
        connected.is_ok()
    }

    #[tokio::test]
    async fn who_has_the_authority_s_certificate_trusts_the_box_by_each_of_its_names_and_no_other() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), noon());
        let certificates = own(dir.path(), &clock).unwrap();
        let pem = certificates.authority_pem().unwrap();
        for name in ["127.0.0.1", "localhost", "gpu.lab.example"] {
            assert!(trusts(&certificates, &pem, name, &clock).await, "{name}");
        }
        for name in ["10.0.0.5", "evil.example"] {
            assert!(!trusts(&certificates, &pem, name, &clock).await, "{name}");
        }
        certificates.reached_at("10.0.0.5".parse().unwrap());
        certificates.reached_at("::ffff:10.0.0.6".parse().unwrap());
        assert!(trusts(&certificates, &pem, "10.0.0.5", &clock).await);
        assert!(trusts(&certificates, &pem, "10.0.0.6", &clock).await);
        let other = own(tempfile::tempdir().unwrap().path(), &clock).unwrap();
        assert!(!trusts(&certificates, &other.authority_pem().unwrap(), "localhost", &clock).await);
    }

    #[tokio::test]
    async fn a_restart_changes_nothing_and_a_lost_certificate_costs_nothing() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), noon());
        let pem = own(dir.path(), &clock).unwrap().authority_pem().unwrap();
        assert_eq!(fs::metadata(dir.path().join("authority.key")).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(own(dir.path(), &clock).unwrap().authority_pem().unwrap(), pem);
        for damage in [None, Some("garbage")] {
            let path = dir.path().join(AUTHORITY);
            damage.map_or_else(|| fs::remove_file(&path), |text| fs::write(&path, text)).unwrap();
            let again = own(dir.path(), &clock).unwrap();
            assert!(trusts(&again, &pem, "localhost", &clock).await, "the key is the same");
        }
    }

    #[test]
    fn a_key_that_others_read_or_that_is_none_is_refused_and_never_replaced() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), noon());
        own(dir.path(), &clock).unwrap();
        let path = dir.path().join("authority.key");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = own(dir.path(), &clock).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "garbage").unwrap();
        assert!(matches!(own(dir.path(), &clock), Err(CertificateError::BadAuthority(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "garbage");
    }

    #[tokio::test]
    async fn certificates_are_exchanged_for_as_long_as_the_daemon_runs() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), noon());
        let certificates = own(dir.path(), &clock).unwrap();
        let pem = certificates.authority_pem().unwrap();
        let first = certificates.shown().ends;
        for _ in 0..(9 * 365) {
            clock.0.fetch_add(DAY, Ordering::SeqCst);
            certificates.look().unwrap();
        }
        assert!(first < certificates.shown().begins);
        assert!(trusts(&certificates, &pem, "localhost", &clock).await, "after nine years");
        clock.0.fetch_add(DAY * 300, Ordering::SeqCst);
        certificates.look().unwrap();
        let later = certificates.authority_pem().unwrap();
        assert_ne!(later, pem, "there is another in good time");
        for pem in [&pem, &later] {
            assert!(trusts(&certificates, pem, "localhost", &clock).await);
        }
        let ends = Certificates::authority_ends(dir.path()).unwrap();
        assert!(clock.now().plus(Duration::from_secs(9 * 365 * 86_400)) < ends);
    }

    #[test]
    fn a_clock_that_was_wrong_at_the_first_start_is_made_up_for() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), noon());
        let now = clock.0.swap(1_000_000, Ordering::SeqCst);
        let certificates = own(dir.path(), &clock).unwrap();
        clock.0.store(now, Ordering::SeqCst);
        certificates.look().unwrap();
        assert!(clock.now() < certificates.shown().ends);
        assert!(clock.now() < Certificates::authority_ends(dir.path()).unwrap());
    }

    /// Writes a certificate that signs itself, good from noon for so many days.
    fn write(dir: &Path, days: i64) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["box.example".to_owned()]).unwrap();
        let at = |days: i64| {
            let seconds = u64::try_from(1_769_860_800 + days * DAY).unwrap();
            rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
        };
        (params.not_before, params.not_after) = (at(-20), at(days));
        let made = params.self_signed(&key).unwrap();
        let (certificate, private) = (dir.join("cert.pem"), dir.join("key.pem"));
        fs::write(&certificate, made.pem()).unwrap();
        fs::write(&private, key.serialize_pem()).unwrap();
        (certificate, private)
    }

    fn given((certificate, key): &(PathBuf, PathBuf), clock: &Arc<Turned>) -> Result<Certificates, CertificateError> {
        Certificates::given(certificate.clone(), key.clone(), Arc::clone(clock) as Arc<dyn Clock>)
    }

    #[tokio::test]
    async fn an_admin_s_certificate_is_read_again_when_it_changes_and_kept_when_it_cannot_be() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), noon());
        let files = write(dir.path(), 50);
        let certificates = given(&files, &clock).unwrap();
        certificates.look().unwrap();
        let pem = fs::read_to_string(&files.0).unwrap();
        assert!(trusts(&certificates, &pem, "box.example", &clock).await);
        assert_eq!((certificates.authority_pem(), certificates.shown().names), (None, vec!["box.example".to_owned()]));

        // The certificate has come and its key has not: told once, and the old one is shown.
        let old_key = fs::read(&files.1).unwrap();
        write(dir.path(), 300);
        let new_key = fs::read(&files.1).unwrap();
        fs::write(&files.1, old_key).unwrap();
        assert!(matches!(certificates.look(), Err(CertificateError::Mismatched { .. })));
        certificates.look().unwrap();
        fs::remove_file(&files.1).unwrap();
        assert!(matches!(certificates.look(), Err(CertificateError::Unreadable { .. })));
        certificates.look().unwrap();
        assert!(trusts(&certificates, &pem, "box.example", &clock).await);
        fs::write(&files.1, new_key).unwrap();
        certificates.look().unwrap();
        assert!(!trusts(&certificates, &pem, "box.example", &clock).await);
        assert!(trusts(&certificates, &fs::read_to_string(&files.0).unwrap(), "box.example", &clock).await);
    }

    #[test]
    fn what_cannot_be_shown_is_refused_in_words() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), noon());
        let refused = |files: &(PathBuf, PathBuf)| given(files, &clock).unwrap_err().to_string();
        let away = (dir.path().join("no.pem"), dir.path().join("no.key"));
        assert!(refused(&away).contains("no.pem"));
        assert!(refused(&write(dir.path(), -1)).contains("ended at 2026-01-30"));
        let files = write(dir.path(), 5);
        clock.0.fetch_sub(40 * DAY, Ordering::SeqCst);
        assert!(refused(&files).contains("clock"));
        clock.0.fetch_add(40 * DAY, Ordering::SeqCst);
        fs::write(&files.1, "x").unwrap();
        assert!(refused(&files).contains("no private key"));
        fs::write(&files.0, "x").unwrap();
        assert!(refused(&files).contains("no certificate"));
    }
}

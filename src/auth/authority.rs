//! An authority of this box's own, so that there is TLS without asking anybody: a key that never leaves
//! the data directory, and a certificate that users give to their clients.
//!
//! The certificate can always be made again from the key, and what the one before was given for, the next
//! one is good for too: they have one name, which is made of the key. So losing it costs nothing, and
//! before it ends there is a new one in good time.
//!
//! It is not bound to names by a constraint. What the box is called changes, with a setting or an address,
//! and a constraint is in the certificate that users hold: each change would lock all of them out until
//! they fetched another one. Instead it can only sign for servers, only directly, and is meant to be named
//! in a variable of one program rather than to be trusted by a whole machine.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject};
use zeroize::Zeroizing;

use super::{
    certificate::{About, Certificate, CertificateError, certified},
    key_file::{self, KeyFileError},
};
use crate::domain::{id::IdSource, time::Timestamp};

/// The file of its certificate, among the keys.
pub(super) const AUTHORITY: &str = "authority.pem";

const DAY: Duration = Duration::from_secs(86_400);
/// How long the authority's certificate lasts.
const LASTS: Duration = DAY.saturating_mul(3653);
/// How long before its end there is another one: users have so long to fetch it.
const EARLY: Duration = DAY.saturating_mul(365);
/// How long the certificates last that it signs: short, for they are made again by themselves.
const LEAF_LASTS: Duration = DAY.saturating_mul(90);
/// How much earlier than now they begin, for clients whose clock is behind.
const SLACK: Duration = DAY;

/// Signs certificates for this box.
pub(super) struct Authority {
    key: KeyPair,
    certificate: PathBuf,
    pem: String,
    der: CertificateDer<'static>,
}

impl Authority {
    /// Finds the authority in the directory `keys`, or makes it there. Blocks on the disk.
    pub fn open_or_create(keys: &Path, source: &dyn IdSource, now: Timestamp) -> Result<Self, CertificateError> {
        let path = keys.join("authority.key");
        let unwritable = |source| CertificateError::Unwritable { path: path.clone(), source };
        let is_there = path.try_exists().map_err(unwritable)?;
        if !is_there {
            let made = KeyPair::generate().map_err(not_made)?;
            let pem = Zeroizing::new(made.serialize_pem());
            key_file::create(&path, pem.as_bytes(), source).map_err(unwritable)?;
        }
        let text = match key_file::read(&path) {
            Ok(text) => text,
            Err(KeyFileError::Exposed(mode)) => return Err(CertificateError::Exposed { path, mode }),
            Err(KeyFileError::Io(source)) => return Err(CertificateError::Unreadable { path, source }),
        };
        let key = std::str::from_utf8(&text).ok().and_then(|pem| KeyPair::from_pem(pem).ok());
        let key = key.ok_or(CertificateError::BadAuthority(path))?;
        let certificate = keys.join(AUTHORITY);
        if let Some((pem, der)) = kept(&certificate, &key, now) {
            return Ok(Self { key, certificate, pem, der });
        }
        let mut made = Self { key, certificate, pem: String::new(), der: CertificateDer::from(Vec::new()) };
        made.certify(now)?;
        Ok(made)
    }

    /// Returns its certificate as PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Says whether its certificate nears its end, or has not begun: a clock can have been wrong.
    pub fn is_due(&self, now: Timestamp) -> bool {
        About::of(&self.der).is_none_or(|about| !lasts(&about, now))
    }

    /// Makes its certificate anew, of the same key and under the same name. Blocks on the disk.
    pub fn certify(&mut self, now: Timestamp) -> Result<(), CertificateError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "gradientd");
        params.distinguished_name.push(DnType::CommonName, name(&self.key));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        last(&mut params, now, LASTS);
        let made = params.self_signed(&self.key).map_err(not_made)?;
        let pem = made.pem();
        write(&self.certificate, &pem)
            .map_err(|source| CertificateError::Unwritable { path: self.certificate.clone(), source })?;
        (self.pem, self.der) = (pem, made.der().clone());
        Ok(())
    }

    /// Signs a certificate for `names`, with a key of its own that is kept nowhere.
    pub fn sign(&self, names: &BTreeSet<String>, now: Timestamp) -> Result<Certificate, CertificateError> {
        let issuer = Issuer::from_ca_cert_der(&self.der, &self.key).map_err(not_made)?;
        let names: Vec<String> = names.iter().cloned().collect();
        let mut params = CertificateParams::new(names.clone()).map_err(not_made)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "gradientd");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        last(&mut params, now, LEAF_LASTS);
        let key = KeyPair::generate().map_err(not_made)?;
        let made = params.signed_by(&key, &issuer).map_err(not_made)?;
        let private = PrivatePkcs8KeyDer::from(key.serialize_der());
        let certified = certified(vec![made.der().clone()], private.into())
            .map_err(|error| CertificateError::NotMade(error.to_string()))?;
        let (begins, ends) = (now.minus(SLACK), now.plus(LEAF_LASTS));
        Ok(Certificate { names, issuer: name(&self.key), begins, ends, key: Arc::new(certified) })
    }
}

/// Returns the certificate of `key` that lies at `path`, if it is good for long enough.
fn kept(path: &Path, key: &KeyPair, now: Timestamp) -> Option<(String, CertificateDer<'static>)> {
    let pem = fs::read_to_string(path).ok()?;
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let about = About::of(&der)?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).ok()?;
    let own = parsed.public_key().raw == key.subject_public_key_info();
    (own && lasts(&about, now)).then_some((pem, der))
}

fn lasts(about: &About, now: Timestamp) -> bool {
    about.begins <= now && now.plus(EARLY) < about.ends
}

/// Names the authority by its key, so that those of several boxes are told apart in one bundle.
fn name(key: &KeyPair) -> String {
    let digest = blake3::hash(&key.subject_public_key_info());
    format!("gradientd {}", &digest.to_hex()[..12])
}

fn last(params: &mut CertificateParams, now: Timestamp, span: Duration) {
    let at = |time: Timestamp| {
        // Years of five digits cannot be written.
        let seconds = u64::try_from(time.0 / 1_000_000).unwrap_or(0).min(200_000_000_000);
        date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    (params.not_before, params.not_after) = (at(now.minus(SLACK)), at(now.plus(span)));
}

/// Writes what everybody may read beside its place, and renames it there.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_added_extension("part");
    fs::write(&draft, text)?;
    fs::File::open(&draft)?.sync_all()?;
    fs::rename(&draft, path)
}

fn not_made(error: rcgen::Error) -> CertificateError {
    CertificateError::NotMade(error.to_string())
}

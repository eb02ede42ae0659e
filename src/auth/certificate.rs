//! A certificate with its private key: what it is for, how long it is good, and whether the two belong
//! together.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use x509_parser::{extensions::GeneralName, prelude::parse_x509_certificate};
use zeroize::Zeroizing;

use crate::domain::time::Timestamp;

/// Longest file that is read as PEM, in bytes: chains are a few KiB.
const LONGEST: u64 = 1 << 20;

/// Why there is no certificate to show. Each is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("cannot read {}: the daemon's user must be able to", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("cannot write {}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("{} holds no certificate in PEM: it begins with -----BEGIN CERTIFICATE-----", .0.display())]
    NoCertificate(PathBuf),
    #[error("{} holds no private key in PEM that can be used: one without a passphrase is needed", .0.display())]
    NoKey(PathBuf),
    #[error("{} is not the key of the certificate in {}: set server.tls_key to the one that it was made with", key.display(), certificate.display())]
    Mismatched { certificate: PathBuf, key: PathBuf },
    #[error("the certificate in {} ended at {ended}: renew it, or unset server.tls_certificate and server.tls_key", path.display())]
    Ended { path: PathBuf, ended: Timestamp },
    #[error("the certificate in {} begins at {begins}: is the clock of this machine right?", path.display())]
    TooEarly { path: PathBuf, begins: Timestamp },
    /// Anybody else on the machine could have read the key.
    #[error("{} can be read by others (mode {mode:03o}): make it yours alone with chmod 600", path.display())]
    Exposed { path: PathBuf, mode: u32 },
    /// The file of the authority's key is there and is none.
    #[error("{} is not an authority's key: put back the file that was there, or remove it and let users fetch the new certificate", .0.display())]
    BadAuthority(PathBuf),
    #[error("a certificate could not be made: {0}")]
    NotMade(String),
}

/// A certificate that can be shown.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// What it is for: host names and addresses.
    pub names: Vec<String>,
    /// Who signed it, for people.
    pub issuer: String,
    pub begins: Timestamp,
    pub ends: Timestamp,
    pub(super) key: Arc<CertifiedKey>,
}

impl Certificate {
    /// Reads a chain and its key from PEM files, which must be good at `now`. Blocks on the disk.
    ///
    /// # Errors
    /// [`CertificateError`], which names the file.
    pub fn read(certificate: &Path, key: &Path, now: Timestamp) -> Result<Self, CertificateError> {
        Self::of_pem((certificate, &read(certificate)?), (key, &read(key)?), now)
    }

    /// Makes sense of a chain and its key, each with the file that it is from.
    pub(super) fn of_pem(
        (certificate, chain): (&Path, &[u8]),
        (key, private): (&Path, &[u8]),
        now: Timestamp,
    ) -> Result<Self, CertificateError> {
        let none = || CertificateError::NoCertificate(certificate.to_owned());
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().map_err(|_| none())?;
        let first = chain.first().ok_or_else(none)?;
        let about = About::of(first).ok_or_else(none)?;
        let private = PrivateKeyDer::from_pem_slice(private).map_err(|_| CertificateError::NoKey(key.to_owned()))?;
        let certified = certified(chain, private).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                CertificateError::Mismatched { certificate: certificate.to_owned(), key: key.to_owned() }
            }
            _ => CertificateError::NoKey(key.to_owned()),
        })?;
        if about.ends <= now {
            return Err(CertificateError::Ended { path: certificate.to_owned(), ended: about.ends });
        }
        if now < about.begins {
            return Err(CertificateError::TooEarly { path: certificate.to_owned(), begins: about.begins });
        }
        let About { names, issuer, begins, ends } = about;
        Ok(Self { names, issuer, begins, ends, key: Arc::new(certified) })
    }
}

/// Reads a file of PEM.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, CertificateError> {
    let wrap = |source| CertificateError::Unreadable { path: path.to_owned(), source };
    if fs::metadata(path).map_err(wrap)?.len() > LONGEST {
        return Err(wrap(io::Error::from(io::ErrorKind::FileTooLarge)));
    }
    fs::read(path).map(Zeroizing::new).map_err(wrap)
}

/// Puts a chain and its key together, if they belong together.
pub(super) fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, rustls::Error> {
    CertifiedKey::from_der(chain, key, &ring::default_provider())
}

/// What a certificate says of itself.
pub(super) struct About {
    pub names: Vec<String>,
    pub issuer: String,
    pub begins: Timestamp,
    pub ends: Timestamp,
}

impl About {
    /// Reads it; `None` when it is no certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = parse_x509_certificate(certificate).ok()?;
        let at = |time: x509_parser::time::ASN1Time| Timestamp(time.timestamp().saturating_mul(1_000_000));
        let named = parsed.subject_alternative_name().ok().flatten();
        let names = named.iter().flat_map(|names| &names.value.general_names).filter_map(name).collect();
        let (begins, ends) = (at(parsed.validity().not_before), at(parsed.validity().not_after));
        Some(Self { names, issuer: parsed.issuer().to_string(), begins, ends })
    }
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}

//! Forms with a file in them, as the client sends a workspace: a part called `file`, the last. The file goes to
//! the disk as it comes.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    body::{Bytes, HttpBody},
    extract::Request,
};
use futures_util::{Stream, StreamExt, stream};
use http::{StatusCode, header};

use crate::{
    api::{Lease, Problem, uploads},
    domain::{caller::Caller, id::UploadId},
    service::Services,
};

/// The part that counts.
const FILE: &str = "file";
/// What a form may add to the size of its file, in bytes.
const AROUND: u64 = 8 << 10;
/// Most bytes before the file begins; they are held in memory.
const HEAD: usize = 64 << 10;

/// Takes the archive in a request's form, and returns the upload that it became; `None` when the request
/// has no body. It gets the `name` that was given out for it, if one was. Parts before it are passed over.
pub async fn upload(
    services: &Services,
    caller: &Caller,
    lease: Lease,
    request: Request,
    name: Option<UploadId>,
) -> Result<Option<UploadId>, Problem> {
    if request.body().is_end_stream() {
        return Ok(None);
    }
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(kind).map_err(|_| {
        let detail = "the workspace comes as a form (multipart/form-data) with one part “file”";
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_a_form", detail)
    })?;
    services.refuse_large_upload(uploads::announced(request.headers()).map(|bytes| bytes.saturating_sub(AROUND)))?;
    let begun = Arc::new(AtomicBool::new(false));
    let pieces = one_by_one(uploads::arriving(request.into_body(), lease, uploads::LONGEST), Arc::clone(&begun));
    let mut form = multer::Multipart::new(pieces, boundary);
    let file = loop {
        match form.next_field().await.map_err(bad_form)? {
            Some(field) if field.name() == Some(FILE) => break field,
            Some(_) => {}
            None => return Err(Problem::invalid("bad_form", FILE, "the form has no part called “file”")),
        }
    };
    begun.store(true, Ordering::Relaxed);
    let upload = match name {
        Some(name) => services.upload_as(caller, name, Box::pin(file)).await?,
        None => services.upload(caller, Box::pin(file)).await?,
    };
    Ok(Some(upload.id))
}

fn bad_form(error: multer::Error) -> Problem {
    // What is behind it says more, where there is something.
    let words = match &error {
        multer::Error::StreamReadFailed(cause) => cause.to_string(),
        other => other.to_string(),
    };
    Problem::new(StatusCode::BAD_REQUEST, "bad_form", format!("the form cannot be read: {words}"))
}

/// Hands pieces on one at a time, and only so many bytes before the file has `begun`. The reader of forms
/// takes whatever is ready before it looks at any of it, and would gather the whole body in memory when it
/// comes faster than the disk takes it. The pauses are between the pieces and not before the first: on a
/// stream that hesitates and then has everything, it misses that the first boundary has come.
fn one_by_one(
    pieces: impl Stream<Item = io::Result<Bytes>> + Send,
    begun: Arc<AtomicBool>,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::unfold((Box::pin(pieces), 0), move |(mut pieces, taken)| {
        let begun = Arc::clone(&begun);
        async move {
            if taken > 0 {
                tokio::task::yield_now().await;
            }
            if taken > HEAD && !begun.load(Ordering::Relaxed) {
                return Some((Err(io::Error::other("there is too much before its file")), (pieces, taken)));
            }
            let piece = pieces.next().await?;
            let taken = taken.saturating_add(piece.as_ref().map_or(0, Bytes::len));
            Some((piece, (pieces, taken)))
        }
    })
}

#[cfg(test)]
pub mod tests {
    use axum::body::Body;

    use super::*;
    use crate::{
        api::{
            caller::tests::{Book, lease},
            router::tests::Api,
        },
        service::users::FIRST_USER,
    };

    /// A zip with nothing in it.
    pub const ZIP: &[u8] = b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

    pub fn form(head: &str, file: &[u8]) -> Vec<u8> {
        [head.as_bytes(), file, b"\r\n--b--\r\n"].concat()
    }

    async fn sent(kind: &str, body: Body) -> Result<Option<UploadId>, Problem> {
        let api = Api::new().await;
        let caller = api.services.local_admin(FIRST_USER).await.unwrap();
        let request = Request::post("/").header("content-type", kind).body(body).unwrap();
        let book = Arc::new(Book { revoked: false.into() });
        upload(&api.services, &caller, lease(book), request, None).await
    }

    pub const KIND: &str = "multipart/form-data; boundary=b";
    pub const HEADERS: &str = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"w.zip\"\r\n\r\n";

    #[tokio::test]
    async fn the_file_of_a_form_becomes_an_upload_however_it_is_cut() {
        let whole = form(HEADERS, ZIP);
        for length in [1, 7, whole.len()] {
            let pieces: Vec<_> = whole.chunks(length).map(|piece| io::Result::Ok(piece.to_vec())).collect();
            assert!(sent(KIND, Body::from_stream(stream::iter(pieces))).await.unwrap().is_some(), "{length}");
        }
        assert_eq!(sent("", Body::empty()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_no_such_form_is_refused() {
        let other = HEADERS.replace("name=\"file\"", "name=\"data\"");
        for (kind, body, status) in [
            ("application/zip", ZIP.to_vec(), 415),
            (KIND, form(&other, ZIP), 422),
            (KIND, b"--b--\r\n".to_vec(), 422),
            (KIND, b"not a form".to_vec(), 400),
            (KIND, b"--b\r\nhalf a hea".to_vec(), 400),
            (KIND, form(HEADERS, b"no archive"), 422),
            // Cut off in the middle of the file.
            (KIND, form(HEADERS, ZIP)[..HEADERS.len() + 10].to_vec(), 409),
            (KIND, form(HEADERS, &[0; 2 << 20]), 413),
        ] {
            let answer = sent(kind, Body::from(body.clone())).await;
            assert_eq!(
                answer.unwrap_err().status(),
                status,
                "{}",
                String::from_utf8_lossy(&body[..body.len().min(80)])
            );
        }
    }

    #[tokio::test]
    async fn what_comes_before_the_file_is_not_gathered_without_end() {
        let given = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counter = Arc::clone(&given);
        let endless = stream::repeat_with(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            io::Result::Ok(vec![b'x'; 16 << 10])
        });
        assert_eq!(sent(KIND, Body::from_stream(endless)).await.unwrap_err().status(), StatusCode::BAD_REQUEST);
        assert!(given.load(Ordering::Relaxed) < 10, "{given:?}");
    }
}

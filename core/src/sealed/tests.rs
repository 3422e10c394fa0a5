//! Sealed values against what PyNaCl and cryptography made of the same key, nonce and text.
//!
//! Each `box` is `base64.urlsafe_b64encode(SecretBox(key).encrypt(text, nonce))` of PyNaCl with
//! `key = sha256(b"sk-salt-1234").digest()` and `nonce = bytes(range(24))`; each `gcm` is
//! `base64.urlsafe_b64encode(n + AESGCM(key).encrypt(n, text, None))` of cryptography with
//! `n = bytes(range(100, 112))`, behind its prefix.

use serde_json::json;

use super::*;

const SALT: &str = "sk-salt-1234";

struct Vector {
    clear: &'static str,
    secret_box: &'static str,
    gcm: &'static str,
}

const VECTORS: [Vector; 3] = [
    Vector {
        clear: "sk-provider-canary",
        secret_box: "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXSlHFUvfYLW383eo0zP5sbIy3-U4ds14782kJndZLoR6q3A==",
        gcm: "v2:gcm:ZGVmZ2hpamtsbW5v8EkLvnct6XXUjaQPa16dBPOCRqnXvvRYfD8cR94axJfU9A==",
    },
    Vector {
        clear: "",
        secret_box: "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXmeHfcvIOFxmVYMT8W6Gv3g==",
        gcm: "v2:gcm:ZGVmZ2hpamtsbW5vwEm5e4qNfEamg_Dfg63PUQ==",
    },
    Vector {
        clear: "schlüssel ☂ xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        secret_box: "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXNtGqIWvntlhO3D1vDhnDzIy_vFKsYFsh8mBbUi2o7weg3RSAmZ8XoicY3Dp11p2aevImqaZPqY2PA_mJcRthXvylHKn3cb6F1JJRsx61hruyGYno-ftXy_Jdnoo6db7IAzkhGsM=",
        gcm: "v2:gcm:ZGVmZ2hpamtsbW5v8EFOosb-7G_VhPbAkL3THfmDPBCGnpJDyoA04YRVPoKG_KlYKL-6W7ZNgp6AUye-N06BqWOhdXTfIORngsg2KeU10njuENL3-QqxFIT-OHh1TlejAajt_s_LCpSz4QlcZ4yHF9o=",
    },
];

fn nonce() -> [u8; NONCE_BYTES] {
    std::array::from_fn(|index| index as u8)
}

#[test]
fn what_is_sealed_is_what_nacl_seals() {
    let key = SealKey::of_salt(SALT);
    for vector in VECTORS {
        assert_eq!(key.seal(vector.clear, nonce()), vector.secret_box);
    }
}

#[test]
fn every_form_that_litellm_wrote_is_read() {
    let key = SealKey::of_salt(SALT);
    for vector in VECTORS {
        let standard = vector.secret_box.replace('-', "+").replace('_', "/");
        let bare = vector.secret_box.trim_end_matches('=');
        for sealed in [vector.secret_box, &standard, bare, vector.gcm] {
            assert_eq!(key.open(sealed).as_deref(), Ok(vector.clear), "{sealed}");
        }
    }
}

#[test]
fn another_salt_and_a_damaged_value_are_told_from_a_value_in_clear() {
    let other = SealKey::of_salt("sk-other");
    for vector in VECTORS {
        assert_eq!(other.open(vector.secret_box), Err(SealError::WrongKey));
        assert_eq!(other.open(vector.gcm), Err(SealError::WrongKey));
    }
    let key = SealKey::of_salt(SALT);
    let damaged = VECTORS[0].secret_box.replace("SlHF", "SlHG");
    assert_eq!(key.open(&damaged), Err(SealError::WrongKey));
    assert_eq!(key.open("v2:gcm:short"), Err(SealError::WrongKey));
    for clear in ["openai/gpt-4o", "", "gpt4", "https://api.openai.com/v1"] {
        assert_eq!(key.open(clear), Err(SealError::NotSealed), "{clear}");
    }
    let no_text = {
        let cipher = XSalsa20Poly1305::new(&key.0.into());
        let sealed = cipher.encrypt(BoxNonce::from_slice(&nonce()), &[0xff, 0xfe][..]);
        BASE64URL.encode([nonce().to_vec(), sealed.unwrap()].concat())
    };
    assert_eq!(key.open(&no_text), Err(SealError::NotText));
    let shown = SealError::WrongKey.to_string();
    assert!(shown.contains("LITELLM_SALT_KEY"), "{shown}");
}

#[test]
fn strings_at_any_depth_are_sealed_and_opened_and_the_bad_one_is_named() {
    let key = SealKey::of_salt(SALT);
    let clear = json!({
        "model": "openai/gpt-4o", "rpm": 5, "tags": ["a", "b"],
        "extra_headers": {"Authorization": "Bearer canary"},
    });
    let clear = clear.as_object().unwrap();
    let mut next = 0;
    let sealed = key.seal_strings(clear, &mut || {
        next += 1;
        [next; NONCE_BYTES]
    });
    assert_eq!(next, 4, "each value has a nonce of its own");
    let text = Value::Object(sealed.clone()).to_string();
    assert!(
        !text.contains("canary") && !text.contains("gpt-4o"),
        "{text}"
    );
    assert_eq!(sealed["rpm"], 5);
    assert_eq!(key.open_strings(&sealed).as_ref(), Ok(clear));

    let half = json!({"model": "openai/gpt-4o", "extra_headers": sealed["extra_headers"]});
    let opened = key.open_strings(half.as_object().unwrap()).unwrap();
    assert_eq!(opened["model"], "openai/gpt-4o");
    let wrong = SealKey::of_salt("sk-other").open_strings(half.as_object().unwrap());
    assert_eq!(wrong.unwrap_err().field, "extra_headers.Authorization");
}

#[test]
fn the_key_is_not_shown() {
    assert_eq!(format!("{:?}", SealKey::of_salt("canary")), "SealKey(***)");
}

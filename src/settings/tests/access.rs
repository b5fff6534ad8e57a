use super::*;

#[test]
fn without_tokens_only_loopback_addresses_are_allowed() {
    for open in ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:0"] {
        assert!(refused(&[("server.bind", open)]).starts_with("server.bind"), "{open}");
    }
    for loopback in ["127.0.0.2:0", "[::1]:8080", "[::ffff:127.0.0.1]:8080"] {
        assert!(load(&[("server.bind", loopback)]).is_ok(), "{loopback}");
    }
    let tokens = format!("[{{name = 'ops', sha256 = '{SHA256}', role = 'operator'}}]");
    assert!(load(&[("server.bind", "0.0.0.0:80"), ("access.tokens", &tokens)]).is_ok());
    assert!(load(&[("worker.bind", "0.0.0.0:9090")]).is_ok());
}

#[test]
fn tokens_are_parsed_from_the_environment() {
    let tokens = format!(
        "[{{name = 'shop', sha256 = '{SHA256}', role = 'submitter'}},
          {{name = 'eye', sha256 = '{}', role = 'viewer'}}]",
        "AB".repeat(32)
    );
    let settings = Settings::load(&from_env(&[("FEEBOX__ACCESS__TOKENS", &tokens)])).expect("settings");
    let [shop, eye] = &settings.access.tokens[..] else {
        panic!("two tokens");
    };
    assert_eq!((shop.name.as_str(), shop.role), ("shop", Role::Submitter));
    assert_eq!((eye.sha256, eye.role), ([0xAB; 32], Role::Viewer));
}

#[test]
fn each_invalid_token_is_reported() {
    let tokens = format!(
        "[{{name = 'a', sha256 = 'abc', role = 'viewer'}},
          {{name = 'b', sha256 = '{SHA256}', role = 'king'}},
          {{name = 'c', sha256 = '{SHA256}', role = 'viewer', colour = 1}},
          {{name = 'd', sha256 = '{SHA256}', role = 'viewer'}},
          {{name = 'e', sha256 = '{SHA256}', role = 'viewer'}},
          {{name = 'f', sha256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', role = 'viewer'}},
          {{name = 'd', sha256 = '{}', role = 'operator'}}, 7]",
        "ab".repeat(32)
    );
    let all = refused(&[("access.tokens", &tokens)]);
    for part in [
        "[0] has a sha256 that is not 64 hex digits",
        "[1] has the unknown role \"king\"",
        "[2] has the unknown key \"colour\"",
        "[4] has the sha256 of an earlier one",
        "[5] has the sha256 of an empty token",
        "[6] has the name of an earlier one and another role",
        "[7] is not a {name, sha256, role}",
    ] {
        assert!(all.contains(part), "{part} not in\n{all}");
    }
    assert!(!all.contains("[3]"), "{all}");
}

#[test]
fn tokens_of_one_name_replace_each_other() {
    let tokens = format!(
        "[{{name = 'shop', sha256 = '{SHA256}', role = 'submitter'}},
          {{name = 'shop', sha256 = '{}', role = 'submitter'}}]",
        "ab".repeat(32)
    );
    let settings = Settings::load(&from_env(&[("FEEBOX__ACCESS__TOKENS", &tokens)])).expect("settings");
    assert_eq!(settings.access.tokens.len(), 2);
}

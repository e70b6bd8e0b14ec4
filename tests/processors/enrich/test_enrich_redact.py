"""Redaction: what is found, what is left alone, JSON that stays JSON, and rules of a site."""

import json
import random
import string
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_processors.enrich.redact import RedactionRules, Redactor
from headgate_processors.errors import ConfigError

REDACTOR = Redactor(RedactionRules.load())
ALNUM = string.ascii_letters + string.digits
HEX = "0123456789abcdef"


def _chars(alphabet: str, count: int, seed: int = 7) -> str:
    """Random characters: fixtures are put together, so that no scanner takes them for real keys."""
    return "".join(random.Random(seed).choice(alphabet) for _ in range(count))


JWT = "ey" + "JhbGciOiJIUzI1NiJ9." + "ey" + "JzdWIiOiIxMjM0NTY3ODkwIn0." + _chars(ALNUM, 43)
PEM = (
    "-----BEGIN "
    "RSA PRIVATE KEY-----\n"
    + "\n".join(_chars(ALNUM, 64, seed) for seed in range(4))
    + "\nab==\n-----END RSA PRIVATE KEY-----"
)
FOUND = [
    ("headgate_token", "hgt" + "_" + _chars(ALNUM, 32)),
    ("headgate_token", "hgk" + "_" + _chars(ALNUM, 32)),
    ("openai_api_key", "sk-" + "proj-" + _chars(ALNUM + "_-", 60)),
    ("openai_api_key", "sk-" + _chars(ALNUM, 48)),
    ("anthropic_api_key", "sk-" + "ant-api03-" + _chars(ALNUM + "_-", 80)),
    ("google_api_key", "AI" + "za" + _chars(ALNUM, 35)),
    ("aws_access_key_id", "AK" + "IA" + _chars(string.ascii_uppercase + "234567", 16)),
    ("github_token", "gh" + "p_" + _chars(ALNUM, 36)),
    ("github_token", "github" + "_pat_" + _chars(ALNUM + "_", 82)),
    ("gitlab_token", "gl" + "pat-" + _chars(ALNUM, 20)),
    ("slack_token", "xo" + "xb-" + _chars(string.digits, 12) + "-" + _chars(ALNUM, 24)),
    ("stripe_key", "sk" + "_live_" + _chars(ALNUM, 24)),
    ("npm_token", "np" + "m_" + _chars(ALNUM, 36)),
    ("pypi_token", "py" + "pi-AgEIcHlwaS5vcmc" + _chars(ALNUM + "_-", 60)),
    ("huggingface_token", "h" + "f_" + _chars(ALNUM, 34)),
    ("model_provider_key", "gs" + "k_" + _chars(ALNUM, 52)),
    ("jwt", JWT),
    ("private_key", PEM),
    ("email", "alice.smith+work@mail.example.co.uk"),
    ("phone", "+1 212-555-0134"),
    ("phone", "+49 151 23456789"),
    ("phone", "+442079460018"),
    ("phone", "(212) 555-0134"),
    ("credit_card", "4111 1111 1111 1111"),
    ("credit_card", "5555555555554444"),
    ("credit_card", "3782-822463-10005"),
    ("iban", "DE89 3704 0044 0532 0130 00"),
    ("iban", "GB82WEST12345698765432"),
    ("us_ssn", "123-45-6789"),
]  # fmt: skip
ASSIGNED = [
    ("password", "password=", "hunter22!"),
    ("password", 'DB_PASSWORD="', "correct horse battery"),
    ("password", "api_key: ", "0123456789abcdef"),
    ("password", "x-api-key: ", "k3y-of-somebody"),
    ("password", "mysql --password ", "s3cretpw"),
    ("password", '{"client_secret": "', "a1b2c3d4e5"),
    ("url_password", "postgres://bob:", "s3cret!x"),
    ("bearer_token", "Authorization: Bearer ", "abcdef0123456789"),
    ("basic_auth", "Authorization: Basic ", "dXNlcjpwYXNzd29yZA=="),
    ("aws_secret_access_key", "AWS_SECRET_ACCESS_KEY=", _chars(ALNUM + "+/", 40)),
    ("azure_key", "DefaultEndpointsProtocol=https;AccountName=x;AccountKey=", _chars(ALNUM + "+/", 86) + "=="),
    ("token", "token: ", "0a1b2c3d4e5f6071"),
]  # fmt: skip
# Small pieces of what real agents sent, and other text that only looks like something.
LEFT_ALONE = [
    '{"id":"call_51d93e8f2a7b4c0e9d1f6a3b","name":"read_file","arguments":{"path":"calc.py"}}',
    '{"tool_use_id":"toolu_38eb3be6063d4fc49afefcd3","request_id":"req_94df015e0d2e4255ab566f60","tool_name":"Read"}',
    '{"session.id":"8600763d-8764-450e-a131-6137aeca398a","user.id":"c262af9f16fe9790add58c1c8bbdc1835d7d65d685de30ffd3c79e745e548f29"}',
    '{"traceId":"9b829916613de84938de4df031da11c8","spanId":"125ba72f43cffc4f","startTimeUnixNano":"1795357982818511216"}',
    '{"code.file.path":"exec-server/src/local_file_system.rs","code.line.number":155,"busy_ns":24203,"time_unix_nano":4795357982818511216}',
    '{"model_name":"gpt-5-mini-2026-08-07","response_id":"resp_cbb6c9c81ead4042b6d993e9","completion_tokens":40,"total_tokens":1040}',
    '{"event.timestamp":"2026-11-22T14:29:28.167Z","service.version":"2.1.330","os.version":"6.18.44-fc-v657"}',
    '{"model":"global.anthropic.claude-sonnet-4-5-20250929-v1:0","max_tokens":8192,"input_tokens":123456789}',
    "def add(a, b):\n    return a + b\n\nassert add(-1, +1) == 0 and 3.141592653589793 > 2.718281828459045e-10",
    "@@ -10,7 +10,12 @@ def main():\n+1730000000000\n-1730000000\n+    timeout = 1_000_000_000_000\n",
    "git@github.com:acme/calc.git lodash@4.17.21 actions/checkout@v4 icon@2x.png getty@tty1.service pkg@1.0.0-rc.next",
    "password=password, api_key=os.environ['KEY'], secret: str, token = get_token(), api_key=settings.api_key",
    "PASSWORD=$DB_PASSWORD api_key: ${API_KEY} password: <your password> secret={{ secret }} password=********",
    "sk-learn-something-with-a-very-long-name and the task-force-of-many-different-people",
    "the bearer of bad news is basic authentication; a password is needed, keep it secret: never print it",
    "127.0.0.1:8080 ::1 10.0.0.0/8 https://api.example.com:443/v1/models?limit=100&page_token=2",
    "/workspace/demo-repo/tests/test_calc.py::test_add PASSED [100%] 3 passed in 0.01s",
    "4111 1111 1111 1112 and 1234567890123456 and DE88 3704 0044 0532 0130 00 and 000-12-3456",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz7",
    "urn:uuid:12345678-4111-1111-8111-111111111111 01ARZ3NDEKTSV4RRFFQ69G5FAV",
    "1.2.3+20260101120000 v10.20.30 2026-11-22 14:29 +0000 UTC+02:00 20261122T142928Z",
    ".a{--type-token:consumptionEditorial.body-core} x@w.T matrix",
]


@pytest.mark.parametrize(("class_", "text"), FOUND)
@pytest.mark.parametrize("around", ["{}", "see {} there", "<{}>", 'x="{}",', "a\n{}\nb", "({})"])
def test_a_secret_is_found_wherever_it_stands(class_: str, text: str, around: str) -> None:
    """Each kind of secret and personal data is replaced whole, and nothing around it."""
    assert around.format(f"[REDACTED:{class_}]") == REDACTOR.redact(around.format(text)).text


@pytest.mark.parametrize(("class_", "before", "value"), ASSIGNED)
def test_only_the_value_of_an_assignment_goes(class_: str, before: str, value: str) -> None:
    """The name before a secret stays, so that a reader sees what was there."""
    after = '"' if '"' in before else "@db.example.com/app" if "://bob" in before else ""
    redacted = REDACTOR.redact(before + value + after)
    assert (f"{before}[REDACTED:{class_}]{after}", (class_,)) == (redacted.text, redacted.classes)


@pytest.mark.parametrize("text", LEFT_ALONE)
def test_ids_hashes_numbers_and_code_are_left_alone(text: str) -> None:
    """What agents send all day is not changed by a byte, plain or as a JSON string."""
    assert (text, ()) == (REDACTOR.redact(text).text, REDACTOR.redact(text).classes)
    assert json.dumps(text) == REDACTOR.redact(json.dumps(text)).text


@pytest.mark.parametrize(("class_", "text"), FOUND)
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_json_stays_json_at_any_depth(class_: str, text: str, depth: int) -> None:
    """A secret in JSON within JSON is found after line breaks and escapes, and every level still parses."""
    value: object = {"note": f'first\n{text}\nlast "quoted" \\ path', "items": [text]}
    for _ in range(depth):
        value = {"inner": json.dumps(value)}
    inner: object = json.loads(REDACTOR.redact(json.dumps(value)).text)
    for _ in range(depth):
        assert isinstance(inner, dict)
        inner = json.loads(inner["inner"])
    marker = f"[REDACTED:{class_}]"
    assert {"note": f'first\n{marker}\nlast "quoted" \\ path', "items": [marker]} == inner


def test_a_bare_number_in_json_becomes_a_string() -> None:
    """A card number that is a JSON number is replaced by a JSON string."""
    text = '{"card": 4111111111111111, "at": 1730000000123456789, "note": "card: 5555555555554444, ok"}'
    expected = {"card": "[REDACTED:credit_card]", "at": 1730000000123456789, "note": "card: [REDACTED:credit_card], ok"}
    assert expected == json.loads(REDACTOR.redact(text).text)


def test_escaped_angle_brackets_before_an_address_stay_whole() -> None:
    """An escaped angle bracket directly before a match is not eaten."""
    text = '{"from":"\\u003calice@example.com\\u003e"}'
    assert {"from": "<[REDACTED:email]>"} == json.loads(REDACTOR.redact(text).text)


def test_redacting_twice_changes_nothing_more() -> None:
    """The marker is no secret itself."""
    texts = [text for _, text in FOUND] + [before + value for _, before, value in ASSIGNED]
    once = [REDACTOR.redact(text).text for text in texts]
    assert once == [REDACTOR.redact(text).text for text in once]


def test_classes_are_named_once_in_order_of_appearance() -> None:
    """The classes say what was taken out, each once."""
    text = "bob@example.com, 123-45-6789, eve@example.com"
    assert ("email", "us_ssn") == REDACTOR.redact(text).classes


def test_addresses_of_machines_are_left_unless_asked_for(tmp_path: Path) -> None:
    """IPv4 addresses are an own rule that is off; a site switches it on by its id."""
    site = tmp_path / "site.yaml"
    site.write_text("version: '1'\nrules:\n  - {id: ipv4, enabled: true}\n")
    assert "from 203.0.113.9." == REDACTOR.redact("from 203.0.113.9.").text
    assert "from [REDACTED:ipv4]." == Redactor(RedactionRules.load(site)).redact("from 203.0.113.9.").text


def test_a_site_adds_rules_switches_rules_off_and_allows_texts(tmp_path: Path) -> None:
    """A site's file is laid over the packaged rules, and both versions are named."""
    site = tmp_path / "site.yaml"
    site.write_text(
        "version: acme-3\nallow: ['support@acme\\.example']\nrules:\n"
        "  - {id: badge, class: badge, kind: personal, pattern: 'ACME-[0-9]{6}'}\n  - {id: phone_us, enabled: false}\n"
    )
    redactor = Redactor(RedactionRules.load(site))
    text = "ACME-123456 wrote to support@acme.example and eve@acme.example, 212-555-0134"
    expected = "[REDACTED:badge] wrote to support@acme.example and [REDACTED:email], 212-555-0134"
    assert expected == redactor.redact(text).text
    assert f"{REDACTOR.version}+acme-3" == redactor.version


def test_rules_of_one_kind_leave_the_other_kind() -> None:
    """Secrets alone can be taken out where names of people may stay."""
    redactor = Redactor(RedactionRules.load().only("secret"))
    text = "alice@example.com password=hunter22!"
    assert "alice@example.com password=[REDACTED:password]" == redactor.redact(text).text


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("{id: a, pattern: '(', class: a}", "redaction rule 'a': not a valid RE2 expression"),
        ("{id: a, pattern: x, validator: lun}", "unknown validator 'lun'"),
        ("{id: a, class: a}", "has no pattern"),
        ("{id: a, patern: x}", "did you mean 'pattern'?"),
    ],
)
def test_a_wrong_rule_is_refused_by_name(tmp_path: Path, rule: str, message: str) -> None:
    """A rule that cannot work is an error at start, not a leak later."""
    site = tmp_path / "site.yaml"
    site.write_text(f"version: '1'\nrules:\n  - {rule}\n")
    with pytest.raises(ConfigError) as refused:
        Redactor(RedactionRules.load(site))
    assert message in str(refused.value)


@given(st.text())
def test_any_text_is_taken(text: str) -> None:
    """No text fails, lone surrogates included, and text without a match comes back as it was."""
    redacted = REDACTOR.redact(text)
    assert bool(redacted.classes) or text == redacted.text


@given(st.text(max_size=40), st.sampled_from([text for _, text in FOUND]), st.text(max_size=40))
def test_no_secret_survives_its_surroundings(before: str, secret: str, after: str) -> None:
    """Whatever separate text stands around a secret, the secret is not in the result."""
    assert secret not in REDACTOR.redact(f"{before} {secret} {after}").text


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from([text for _, text in FOUND]),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=8,
    )
)
def test_json_of_any_shape_stays_json(value: object) -> None:
    """Redacted JSON parses, whatever it held."""
    json.loads(REDACTOR.redact(json.dumps(value)).text)
    json.loads(REDACTOR.redact(json.dumps(json.dumps(value, ensure_ascii=False))).text)


@given(st.integers(min_value=0))
def test_identifiers_of_any_value_are_left_alone(seed: int) -> None:
    """UUIDs, digests, trace ids and nanosecond times of any value are never taken for personal data."""
    chosen = random.Random(seed)
    identifiers = [
        str(uuid.UUID(int=chosen.getrandbits(128), version=4)),
        "".join(chosen.choices(HEX, k=32)),
        "".join(chosen.choices(HEX, k=64)),
        "call_" + "".join(chosen.choices(ALNUM, k=24)),
        "toolu_" + "".join(chosen.choices(ALNUM, k=24)),
        str(1_700_000_000_000_000_000 + chosen.getrandbits(58)),
        f"{chosen.random():.17f}",
    ]
    text = json.dumps({f"key{place}": value for place, value in enumerate(identifiers)})
    assert text == REDACTOR.redact(text).text

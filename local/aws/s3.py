"""A stand-in for S3, IAM and the credentials endpoint of ECS: moto's server, which enforces the policies of the task role.

Reads its settings from the JSON file in its only argument (see s3.mts) and serves on the loopback, in addition to S3,
  /try/credentials   temporary credentials of the task role in the rest of the path, in the format of ECS
and for the checks, without credentials,
  /try/objects       GET: all objects in the bucket; PUT: writes the object in the rest of the path
  /try/policies      PUT: replaces the policies of the task role in the rest of the path
  /try/database-token  POST: checks an IAM token for RDS, and returns its user or the reason of a refusal
  /try/fault         PUT: a status to answer instead, and a delay before each answer, until the next call
"""

import collections
import datetime
import fnmatch
import hmac
import json
import os
import re
import sys
import threading
import time
import urllib.parse
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto import settings as moto_settings
from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.iam.models import iam_backends
from moto.s3.models import FakeKey, FakeMultipart, S3Backend, s3_backends
from moto.s3.utils import _VersionedKeyStore
from moto.server import DomainDispatcherApplication, create_backend_app
from moto.sts.models import sts_backends
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

PARTITION = "aws"
ACCOUNT = os.environ["MOTO_ACCOUNT_ID"]  # moto reads the same variable
FAULT = {"status": 0, "delay": 0}


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        given = json.load(file)

    iam = iam_backends[ACCOUNT][PARTITION]
    for role in given["roles"]:
        iam.create_role(role["name"], json.dumps(role["trust"]), path="/", permissions_boundary=None,
                        description="", tags=[], max_session_duration="3600")
        put_policies(iam, role["name"], role["policies"])

    read_large_objects_once()
    replace_objects_safely()
    moto_settings.INITIAL_NO_AUTH_ACTION_COUNT = float("inf")
    moto = DomainDispatcherApplication(create_backend_app)
    app = Controls(
        Faults(BatchDelete(PrefixCondition(PresignedUrls(moto, given["region"]), given["roles"], given["account"]), iam)),
        {
            "/try/credentials": credentials(iam, given["region"]),
            "/try/objects": objects(given["bucket"]),
            "/try/database-token": database_token(iam, given["region"], given["account"]),
            "/try/fault": json_app(lambda request: FAULT.update(json.loads(request.get_data()))),
            "/try/policies": json_app(lambda request: put_policies(iam, request.path.strip("/"), json.loads(request.get_data()))),
        },
    )
    server = make_server("127.0.0.1", given["port"], app, threaded=True)
    create_buckets(given)
    moto_settings.INITIAL_NO_AUTH_ACTION_COUNT = 0  # from now on every call is checked
    server.serve_forever()


def put_policies(iam, role, policies):
    for name, document in policies.items():
        iam.put_role_policy(role, name, json.dumps(document))


def create_buckets(given):
    backend = s3_backends[ACCOUNT][PARTITION]
    backend.create_bucket(given["bucket"], given["region"])
    if given["versioned"]:
        backend.put_bucket_versioning(given["bucket"], "Enabled")
    backend.create_bucket(given["foreignBucket"], given["region"])


class PrefixCondition:
    """moto ignores conditions. The condition on the prefix of a listing is checked here. There is only one account."""

    def __init__(self, app, roles, account):
        self.app = app
        self.patterns = []
        documents = [document for role in roles for document in role["policies"].values()]
        for statement in (statement for document in documents for statement in as_list(document["Statement"])):
            for operator, values in statement.get("Condition", {}).items():
                if (operator, values) == ("StringEquals", {"aws:ResourceAccount": account}):
                    continue
                if operator != "StringLike" or set(values) != {"s3:prefix"} or statement["Action"] != "s3:ListBucket":
                    sys.exit(f"a condition of the task role's policy is not supported here: {json.dumps(statement)}")  # ignoring it would allow requests that AWS refuses
                self.patterns += as_list(values["s3:prefix"])

    def __call__(self, environ, start_response):
        request = Request(environ)
        is_listing = request.method == "GET" and request.path.strip("/").count("/") == 0 and "list-type" in request.args
        prefix = request.args.get("prefix", "")
        if is_listing and self.patterns and not any(fnmatch.fnmatchcase(prefix, pattern) for pattern in self.patterns):
            denied = "<Error><Code>AccessDenied</Code><Message>The policy does not allow this prefix</Message></Error>"
            return Response(denied, 403, mimetype="application/xml")(environ, start_response)
        return self.app(environ, start_response)


def read_large_objects_once():
    """moto reads the whole object for each requested part: 2 GiB, 256 times. So the object that was read last is kept."""
    read = FakeKey.value
    last = (None, b"")

    def value(key):
        nonlocal last
        kept, content = last  # in one step, because other threads read at the same time
        if kept is not key:
            content = read.fget(key)
            last = (key, content)
        return content

    def write(key, content):
        nonlocal last
        last = (None, b"")
        read.fset(key, content)
        key.etag  # otherwise moto computes it on request, at the same position of the same file that other threads read

    FakeKey.value = property(value, write)


def replace_objects_safely():
    """moto closes a replaced object while other threads still send it or its ETag, and loses one of two versions that are put at the same time."""
    FakeKey.dispose = lambda key, garbage=False: None  # its file is closed with its last reference,
    FakeKey.instances_tracked = FakeMultipart.instances_tracked = collections.deque(maxlen=0)  # so moto's list of all objects must not keep one
    # moto compares every version with every other to find those to close: 31 ms for each put of a name with 4000 versions.
    _VersionedKeyStore.setlist = lambda store, key, versions: dict.__setitem__(store, key, as_list(versions))
    put, lock = S3Backend.put_object, threading.Lock()

    def put_one(*args, **options):
        with lock:
            return put(*args, **options)

    S3Backend.put_object = put_one


class Controls:
    """Serves the paths for the checks only at 127.0.0.1, so that no task reaches them at the names of S3."""

    def __init__(self, s3, controls):
        self.s3 = s3
        self.controls = DispatcherMiddleware(s3, controls)

    def __call__(self, environ, start_response):
        return (self.controls if environ["HTTP_HOST"].startswith("127.0.0.1:") else self.s3)(environ, start_response)


class Faults:
    """Simulates faults of S3: an error in place of the answer, or a delayed answer."""

    def __init__(self, app):
        self.app = app

    def __call__(self, environ, start_response):
        time.sleep(FAULT["delay"])
        if FAULT["status"]:
            body = "<Error><Code>ServiceUnavailable</Code><Message>Please reduce your request rate.</Message></Error>"
            return Response(body, FAULT["status"], mimetype="application/xml")(environ, start_response)
        return self.app(environ, start_response)


class BatchDelete:
    """For a deletion of several objects, moto requires the right to delete the bucket. S3 requires the right for each object, which is checked here."""

    def __init__(self, app, iam):
        self.app = app
        self.iam = iam

    def __call__(self, environ, start_response):
        request = Request(environ)
        if request.method != "POST" or "delete" not in request.args:
            return self.app(environ, start_response)
        bucket = bucket_of(request)
        keys = [element.text for element in ElementTree.fromstring(request.get_data()).iter() if element.tag.endswith("}Key")]
        role = session_of(re.search("Credential=([^/]+)", environ["HTTP_AUTHORIZATION"])[1]).role_arn.split("/")[-1]
        allowed = [key for key in keys if permits(self.iam, role, "s3:DeleteObject", f"arn:aws:s3:::{bucket}/{key}")]
        s3_backends[ACCOUNT][PARTITION].delete_objects(bucket, [{"Key": key} for key in allowed], False)
        results = [
            f"<Deleted><Key>{escape(key)}</Key></Deleted>" if key in allowed
            else f"<Error><Key>{escape(key)}</Key><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
            for key in keys
        ]
        return Response(f"<DeleteResult>{''.join(results)}</DeleteResult>", mimetype="application/xml")(environ, start_response)


def bucket_of(request):
    name, separator, _ = request.host.partition(".s3.")
    return name if separator else request.path.split("/")[1]


def permits(iam, role, action, arn):
    documents = [iam.get_role_policy(role, name)[1] for name in iam.list_role_policies(role)]
    return any(IAMPolicy(document).is_action_permitted(action, arn) == PermissionResult.PERMITTED for document in documents)


class PresignedUrls:
    """moto reads credentials only from the Authorization header. A presigned URL is checked here as S3 does, and then signed again."""

    def __init__(self, app, region):
        self.app = app
        self.region = region

    def __call__(self, environ, start_response):
        query = urllib.parse.parse_qsl(environ["QUERY_STRING"], keep_blank_values=True)
        signing = {name: value for name, value in query if name.startswith("X-Amz-")}
        if "X-Amz-Signature" in signing:
            refusal = self.refusal(environ, query, signing)
            if refusal:
                body = f"<Error><Code>{refusal}</Code><Message>The presigned URL is not valid</Message></Error>"
                return Response(body, 403, mimetype="application/xml")(environ, start_response)
            self.sign_anew(environ, query, signing)
        return self.app(environ, start_response)

    def refusal(self, environ, query, signing):
        date, lifetime = signing["X-Amz-Date"], int(signing["X-Amz-Expires"])
        signed_at = datetime.datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
        if datetime.datetime.now(datetime.timezone.utc) > signed_at + datetime.timedelta(seconds=lifetime):
            return "AccessDenied"
        sent = Request(environ).headers
        names = signing["X-Amz-SignedHeaders"].split(";")
        if any(name not in sent for name in names):
            return "SignatureDoesNotMatch"
        unsigned = [(name, value) for name, value in query if name != "X-Amz-Signature"]
        request = aws_request(environ, unsigned, {name: sent[name] for name in names if name != "host"})
        request.context["timestamp"] = date
        auth = S3SigV4QueryAuth(self.credentials(signing), "s3", self.region, lifetime)
        expected = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
        return None if hmac.compare_digest(expected, signing["X-Amz-Signature"]) else "SignatureDoesNotMatch"

    def sign_anew(self, environ, query, signing):
        rest = [(name, value) for name, value in query if name not in signing]
        request = aws_request(environ, rest, {"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})
        S3SigV4Auth(self.credentials(signing), "s3", self.region).add_auth(request)
        for name, value in request.headers.items():
            environ[f"HTTP_{name.upper().replace('-', '_')}"] = value
        unsigned = urllib.parse.urlsplit(request.url)
        environ["QUERY_STRING"] = unsigned.query
        environ["RAW_URI"] = environ["REQUEST_URI"] = unsigned._replace(scheme="", netloc="").geturl()

    def credentials(self, signing):
        session = session_of(signing["X-Amz-Credential"].split("/")[0])
        return Credentials(session.access_key_id, session.secret_access_key, session.session_token)


def aws_request(environ, query, headers):
    path = urllib.parse.urlsplit(environ["RAW_URI"]).path
    return AWSRequest(environ["REQUEST_METHOD"], f"http://{environ['HTTP_HOST']}{path}?{urllib.parse.urlencode(query, quote_via=urllib.parse.quote)}", headers)


def session_of(access_key):
    return next(session for session in sts_backends[ACCOUNT][PARTITION].assumed_roles if session.access_key_id == access_key)


def credentials(iam, region):
    def answer(request):
        role_arn = iam.get_role(request.path.strip("/")).arn
        session = sts_backends[ACCOUNT][PARTITION].assume_role(
            region_name=region, role_session_name="task", role_arn=role_arn, policy="", duration=3600, external_id="")
        return {
            "RoleArn": role_arn,
            "AccessKeyId": session.access_key_id,
            "SecretAccessKey": session.secret_access_key,
            "Token": session.session_token,
            "Expiration": session.expiration.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    return json_app(answer)


def database_token(iam, region, account):
    """A token is a presigned URL without its scheme. RDS checks nothing else when a client connects with it."""
    def answer(request):
        given = json.loads(request.get_data())
        token = urllib.parse.urlsplit(f"https://{given['token']}")
        query = urllib.parse.parse_qsl(token.query)
        signing = dict(query)
        user, date, lifetime = signing["DBUser"], signing["X-Amz-Date"], int(signing["X-Amz-Expires"])
        session = session_of(signing["X-Amz-Credential"].split("/")[0])
        unsigned = urllib.parse.urlencode([pair for pair in query if pair[0] != "X-Amz-Signature"], quote_via=urllib.parse.quote)
        url = AWSRequest("GET", f"https://{given['endpoint']}/?{unsigned}")
        url.context["timestamp"] = date
        auth = SigV4QueryAuth(Credentials(session.access_key_id, session.secret_access_key, session.session_token), "rds-db", region, lifetime)
        expected = auth.signature(auth.string_to_sign(url, auth.canonical_request(url)), url)
        signed_at = datetime.datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
        now = datetime.datetime.now(datetime.timezone.utc)
        arn = f"arn:aws:rds-db:{region}:{account}:dbuser:{given['cluster']}/{user}"
        if token.netloc != given["endpoint"] or not hmac.compare_digest(expected, signing["X-Amz-Signature"]):
            return {"refusal": "it is for another database, or the signature does not match"}
        if signing["Action"] != "connect" or lifetime > 900 or now > signed_at + datetime.timedelta(seconds=lifetime):
            return {"refusal": f"it is not a token for connections, or too old: {signing['Action']}, signed at {date} for {lifetime} s"}
        if not permits(iam, session.role_arn.split("/")[-1], "rds-db:connect", arn):
            return {"refusal": f"the role of the task may not connect to {arn}"}
        return {"user": user}
    return json_app(answer)


def objects(bucket):
    def answer(request):
        backend = s3_backends[ACCOUNT][PARTITION]
        if request.method == "PUT":
            backend.put_object(bucket, request.path.lstrip("/"), request.get_data())
        keys = backend.buckets[bucket].keys
        return [{"key": name, "size": keys[name].size} for name in keys if isinstance(keys[name], FakeKey)]
    return json_app(answer)


def json_app(answer):
    return Request.application(lambda request: Response(json.dumps(answer(request)), mimetype="application/json"))


def as_list(value):
    return value if isinstance(value, list) else [value]


main()

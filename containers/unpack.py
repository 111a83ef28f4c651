# Runs prepare.py of cdk-secure-mlflow, which is packed with the other programs of the task: docs/security.md says how to read them.
import base64, json, sys, zlib
programs = json.loads(zlib.decompress(base64.b64decode(sys.argv[1])))
exec(programs["prepare.py"])

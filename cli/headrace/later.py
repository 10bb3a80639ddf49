"""Verbs of `az ml` that are not supported yet: named in help, refused with exit 2."""

from __future__ import annotations

from typing import Final

GROUPS: Final = {
    "batch-endpoint": "Endpoints that run jobs. (not supported yet)",
    "batch-deployment": "Scoring code behind a batch endpoint. (not supported yet)",
    "job": "Jobs. (not supported yet)",
}

VERBS: Final = (
    # verb, required, optional, which options edit the fetched object
    ("batch-endpoint create", "", "--file -f, --name -n, --no-wait", "--set"),
    ("batch-endpoint delete", "--name -n", "--no-wait, --yes -y", ""),
    (
        "batch-endpoint invoke",
        "--name -n",
        (
            "--deployment-name -d, --experiment-name, --file -f, --input, --input-type,"
            " --inputs, --instance-count -c, --job-name, --mini-batch-size -m, "
            "--output-path, --outputs"
        ),
        "--set",
    ),
    ("batch-endpoint list", "", "", ""),
    ("batch-endpoint list-jobs", "--name -n", "", ""),
    ("batch-endpoint show", "--name -n", "", ""),
    ("batch-endpoint update", "", "--defaults, --file -f, --name -n, --no-wait", "GEN"),
    (
        "batch-deployment create",
        "--file -f",
        "--endpoint-name -e, --name -n, --no-wait, --set-default, --skip-script-validation",
        "--set",
    ),
    ("batch-deployment delete", "--endpoint-name -e, --name -n", "--no-wait, --yes -y", ""),
    ("batch-deployment list", "--endpoint-name -e", "", ""),
    ("batch-deployment list-jobs", "--endpoint-name -e, --name -n", "", ""),
    ("batch-deployment show", "--endpoint-name -e, --name -n", "", ""),
    ("batch-deployment update", "", "--endpoint-name -e, --file -f, --name -n, --no-wait", "GEN"),
    ("model package", "--file -f, --name -n, --version -v", "--registry-name", ""),
    (
        "model share",
        "--name -n, --registry-name, --share-with-name, --share-with-version, --version -v",
        "",
        "",
    ),
    (
        "environment share",
        "--name -n, --registry-name, --share-with-name, --share-with-version, --version -v",
        "",
        "",
    ),
    (
        "data import",
        "",
        (
            "--datastore, --description -d, --file -f, --name -n, --path -p, "
            "--skip-validation, --type -t, --version -v"
        ),
        "--set",
    ),
    (
        "data list-materialization-status",
        "",
        "--all-results, --archived-only, --include-archived, --max-results -r (=50), --name -p",
        "",
    ),
    (
        "data mount",
        "--path",
        "--mode (=ro_mount), --mount-point (=/home/azureuser/mount/data), --persistent",
        "",
    ),
    (
        "data share",
        "--name -n, --registry-name, --share-with-name, --share-with-version, --version -v",
        "",
        "",
    ),
    ("job archive", "--name -n", "", ""),
    ("job cancel", "--name -n", "", ""),
    ("job connect-ssh", "--name -n", "--node-index -i (=0), --private-key-file-path -f", ""),
    (
        "job create",
        "--file -f",
        "--name -n, --save-as -a, --skip-validation, --stream -s, --web -e",
        "--set",
    ),
    ("job download", "--name -n", "--all, --download-path -p, --output-name", ""),
    (
        "job list",
        "",
        (
            "--all-results, --archived-only, --include-archived, --max-results -r "
            "(=50), --parent-job-name -p"
        ),
        "",
    ),
    ("job restore", "--name -n", "", ""),
    ("job show", "--name -n", "--web -e", ""),
    ("job show-services", "--name -n", "--node-index -i (=0)", ""),
    ("job stream", "--name -n", "", ""),
    ("job update", "--name -n", "--web -e", "GEN"),
    ("job validate", "--file -f", "", "--set"),
    ("schedule trigger", "--name -n", "", ""),
)

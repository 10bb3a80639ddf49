"""The verbs of azure_behaviour.md 7.5, against which the table of verbs is held.

One row a verb: name, required options, optional options with short forms and defaults, generic.
"""

from __future__ import annotations

from typing import Final

AZ_VERBS: Final = (
    (
        "online-endpoint create",
        "",
        "--auth-mode, --file -f, --local, --name -n, --no-wait, --web -e",
        "--set",
    ),
    ("online-endpoint delete", "--name -n", "--local, --no-wait, --yes -y", ""),
    ("online-endpoint get-credentials", "--name -n", "", ""),
    ("online-endpoint invoke", "--name -n", "--deployment-name -d, --local, --request-file -r", ""),
    ("online-endpoint list", "", "--local", ""),
    ("online-endpoint regenerate-keys", "--name -n", "--key-type (=primary), --no-wait", ""),
    ("online-endpoint show", "--name -n", "--local, --web -e", ""),
    (
        "online-endpoint update",
        "",
        "--file -f, --local, --mirror-traffic, --name -n, --no-wait, --traffic -r, --web -e",
        "GEN",
    ),
    (
        "online-deployment create",
        "--file -f",
        (
            "--all-traffic, --endpoint-name -e, --local, --local-enable-gpu, --name -n,"
            " --no-wait, --package-model, --skip-script-validation, --vscode-debug, "
            "--web"
        ),
        "--set",
    ),
    (
        "online-deployment delete",
        "--endpoint-name -e, --name -n",
        "--local, --no-wait, --yes -y",
        "",
    ),
    (
        "online-deployment get-logs",
        "--endpoint-name -e, --name -n",
        "--container -c, --lines -l (=5000), --local",
        "",
    ),
    ("online-deployment list", "--endpoint-name -e", "--local", ""),
    ("online-deployment show", "--endpoint-name -e, --name -n", "--local, --web", ""),
    (
        "online-deployment update",
        "",
        (
            "--endpoint-name -e, --file -f, --local, --local-enable-gpu, --name -n, "
            "--no-wait, --skip-script-validation, --vscode-debug, --web"
        ),
        "GEN",
    ),
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
    ("model archive", "--name -n", "--label -l, --registry-name, --version -v", ""),
    (
        "model create",
        "",
        (
            "--datastore, --description, --file -f, --name -n, --no-wait, --path -p, "
            "--registry-name, --stage -s, --tags, --type -t, --version -v"
        ),
        "--set",
    ),
    ("model download", "--name -n, --version -v", "--download-path -p, --registry-name", ""),
    (
        "model list",
        "",
        (
            "--archived-only, --include-archived, --max-results -r, --name -n, "
            "--registry-name, --stage -s"
        ),
        "",
    ),
    ("model package", "--file -f, --name -n, --version -v", "--registry-name", ""),
    ("model restore", "--name -n", "--label -l, --registry-name, --version -v", ""),
    (
        "model share",
        "--name -n, --registry-name, --share-with-name, --share-with-version, --version -v",
        "",
        "",
    ),
    ("model show", "--name -n", "--label -l, --registry-name, --version -v", ""),
    ("model update", "--name -n", "--label -l, --registry-name, --stage -s, --version -v", "GEN"),
    ("environment archive", "--name -n", "--label -l, --registry-name, --version -v", ""),
    (
        "environment create",
        "",
        (
            "--build-context -b, --conda-file -c, --datastore, --description, "
            "--dockerfile-path -d (=/Dockerfile), --file -f, --image -i, --name -n, "
            "--no-wait, --os-type, --registry-name, --tags, --version -v"
        ),
        "--set",
    ),
    (
        "environment list",
        "",
        "--archived-only, --include-archived, --max-results -r, --name -n, --registry-name",
        "",
    ),
    ("environment restore", "--name -n", "--label -l, --registry-name, --version -v", ""),
    (
        "environment share",
        "--name -n, --registry-name, --share-with-name, --share-with-version, --version -v",
        "",
        "",
    ),
    ("environment show", "--name -n", "--label -l, --registry-name, --version -v", ""),
    ("environment update", "--name -n", "--label -l, --registry-name, --version -v", "GEN"),
    ("data archive", "--name -n", "--label -l, --version -v", ""),
    (
        "data create",
        "",
        (
            "--datastore, --description -d, --file -f, --name -n, --no-wait, --path -p,"
            " --registry-name, --skip-validation, --type -t, --version -v"
        ),
        "--set",
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
        "data list",
        "",
        "--archived-only, --include-archived, --max-results -r, --name -n, --registry-name",
        "",
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
    ("data restore", "--name -n", "--label -l, --version -v", ""),
    (
        "data share",
        "--name -n, --registry-name, --share-with-name, --share-with-version, --version -v",
        "",
        "",
    ),
    ("data show", "--name -n", "--label -l, --registry-name, --version -v", ""),
    ("data update", "--name -n", "--label -l, --registry-name, --version -v", "GEN"),
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
    ("schedule create", "--file -f", "--name -n, --no-wait", "--set"),
    ("schedule delete", "--name -n", "--no-wait", ""),
    ("schedule disable", "--name -n", "--no-wait", ""),
    ("schedule enable", "--name -n", "--no-wait", ""),
    ("schedule list", "", "--disabled-only, --include-disabled, --max-results -r", ""),
    ("schedule show", "--name -n", "", ""),
    ("schedule trigger", "--name -n", "", ""),
    ("schedule update", "--name -n", "--no-wait", "GEN"),
)

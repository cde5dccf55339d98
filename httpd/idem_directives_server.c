/* idem_directives_server.c: directives of a server: store, quota, waiters,
 * who may administer.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idem_value.h"

#include <apr_strings.h>

#include "ap_provider.h"

#include "idem_store_shm.h"

const char *idem_directives_quota(cmd_parms *cmd, void *mconfig,
                                  const char *arg)
{
    idem_srv_conf_t *srv =
        ap_get_module_config(cmd->server->module_config, &idempotency_module);
    const char *number = arg;
    apr_size_t len = strlen(arg);
    apr_off_t percent;

    (void)mconfig;
    if (!ap_cstr_casecmp(arg, "none")) {
        srv->quota = 0;
        return NULL;
    }
    if (len > 0 && arg[len - 1] == '%') {
        number = apr_pstrmemdup(cmd->pool, arg, len - 1);
    }
    if (!idem_value_size(number, &percent) || percent < 1 || percent > 100) {
        return idem_value_bad(cmd, arg, "is not a number from 1 to 100",
                              "25, or none");
    }
    srv->quota = (int)percent;
    return NULL;
}

const char *idem_directives_waiters(cmd_parms *cmd, void *mconfig,
                                    const char *arg)
{
    const char *err = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    apr_off_t n;

    (void)mconfig;
    if (err) {
        return err;
    }
    if (!idem_value_size(arg, &n) || n > IDEM_WAIT_SLOTS) {
        return idem_value_bad(cmd, arg, "is not a number from 0 to 4096",
                              "25");
    }
    idem_global.waiters_max = (int)n;
    return NULL;
}

static const char *set_store_option(cmd_parms *cmd, const char *arg)
{
    apr_off_t size;

    if (!strncmp(arg, "size=", 5)) {
        if (!idem_value_size(arg + 5, &size) || size < IDEM_SHM_SIZE_MIN
            || size > IDEM_SHM_SIZE_MAX) {
            return idem_value_bad(cmd, arg, "is not a size from 1M to 1024G",
                                  "size=64M");
        }
        idem_global.store_size = (apr_size_t)size;
        return NULL;
    }
    if (!strncmp(arg, "path=", 5) && arg[5]) {
        idem_global.store_path_set = 1;
        idem_global.store_path = NULL;
        if (strcmp(arg + 5, "none") != 0) {
            idem_global.store_path =
                ap_runtime_dir_relative(cmd->pool, arg + 5);
            if (!idem_global.store_path) {
                return idem_value_bad(cmd, arg, "is not a usable path",
                                      "path=idempotency.store");
            }
        }
        return NULL;
    }
    if (!strcmp(arg, "sync=on") || !strcmp(arg, "sync=off")) {
        idem_global.store_sync = !strcmp(arg, "sync=on");
        return NULL;
    }
    return idem_value_bad(cmd, arg, "is not an option of the store shm",
                          "size=64M path=idempotency.store sync=off");
}

/* The value may hold a password: only the module knows what may be said. */
static const char *set_provider_option(cmd_parms *cmd, const char *arg)
{
    const char *eq = strchr(arg, '=');
    const char *wrong = "an option has the form name=value";

    if (eq && eq != arg) {
        wrong = idem_global.provider->option(
            &idem_global.provider_conf,
            apr_pstrmemdup(cmd->pool, arg, (apr_size_t)(eq - arg)), eq + 1,
            cmd->pool);
    }
    return wrong ? apr_psprintf(cmd->pool, "%s %s: %s", cmd->cmd->name,
                                idem_global.provider_name, wrong)
                 : NULL;
}

static const char *set_provider(cmd_parms *cmd, int argc, char *const argv[])
{
    const char *err;
    int i;

    idem_global.provider = ap_lookup_provider(
        IDEM_STORE_PROVIDER_GROUP, argv[0], IDEM_STORE_PROVIDER_VERSION);
    if (!idem_global.provider) {
        return apr_psprintf(cmd->pool,
                            "%s: '%s' is not a store here: LoadModule "
                            "mod_idempotency_%s, or write \"shm size=64M\"",
                            cmd->cmd->name, argv[0], argv[0]);
    }
    idem_global.provider_name = argv[0];
    for (i = 1; i < argc; i++) {
        err = set_provider_option(cmd, argv[i]);
        if (err) {
            return err;
        }
    }
    err = idem_global.provider->check(idem_global.provider_conf, cmd->pool);
    return err ? apr_psprintf(cmd->pool, "%s %s: %s", cmd->cmd->name, argv[0],
                              err)
               : NULL;
}

const char *idem_directives_store(cmd_parms *cmd, void *mconfig, int argc,
                                  char *const argv[])
{
    const char *err = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    int i;

    (void)mconfig;
    if (err) {
        return err;
    }
    if (argc < 1) {
        return idem_value_bad(cmd, "", "is not a store", "shm size=64M");
    }
    /* The last line counts, with its options alone. */
    idem_config_reset_store();
    if (strcmp(argv[0], "shm") != 0) {
        return set_provider(cmd, argc, argv);
    }
    for (i = 1; i < argc; i++) {
        err = set_store_option(cmd, argv[i]);
        if (err) {
            return err;
        }
    }
    if (idem_global.store_sync && idem_global.store_path_set
        && !idem_global.store_path) {
        return idem_value_bad(cmd, "sync=on",
                              "needs a file, which path=none has not",
                              "path=idempotency.store sync=on");
    }
    return NULL;
}

/* A virtual host may be a tenant's, so only the main configuration permits
 * what concerns all of them; its sections hold for virtual hosts, too. */
const char *idem_directives_admin(cmd_parms *cmd, void *mconfig,
                                  const char *arg)
{
    idem_dir_conf_t *conf = mconfig;
    const char *err = ap_check_cmd_context(
        cmd, NOT_IN_VIRTUALHOST | NOT_IN_LIMIT | NOT_IN_HTACCESS);

    return err ? err : idem_value_one_of(cmd, &conf->admin, arg, "Off", "On");
}

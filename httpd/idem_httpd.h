/* idem_httpd.h: private to httpd/ and mod_idempotency.c.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IDEM_HTTPD_H
#define IDEM_HTTPD_H

#include "httpd.h"
#include "http_config.h"
#include "http_connection.h"
#include "http_core.h"
#include "http_log.h"
#include "http_protocol.h"
#include "http_request.h"
#include "ap_expr.h"
#include "ap_provider.h"
#include "ap_regex.h"
#include "util_filter.h"

#include "mod_idempotency.h"
#include "idem_fingerprint.h"
#include "idem_flow.h"
#include "idem_key.h"
#include "idem_problem.h"
#include "idem_record.h"
#include "idem_source.h"

APLOG_USE_MODULE(idempotency);

/* ------------------------------------------------------------- settings */

#define IDEM_UNSET (-1) /* a member that is inherited */
#define IDEM_DEFAULT_BASE "https://mod-idempotency.example/problems"

/** Where a part of the principal comes from. */
typedef enum {
    IDEM_PRINCIPAL_CREDENTIALS,
    IDEM_PRINCIPAL_COOKIE,
    IDEM_PRINCIPAL_HEADER,
    IDEM_PRINCIPAL_IP,
    IDEM_PRINCIPAL_TLS,
    IDEM_PRINCIPAL_EXPR
} idem_principal_kind_t;

typedef struct {
    idem_principal_kind_t kind;
    const char *name; /* of the cookie or field; NULL otherwise */
    ap_expr_info_t *expr;
} idem_principal_t;

/** What counts as the same request. */
typedef struct {
    int method;
    int uri;
    int body;
    int kinds; /* IDEM_FINGERPRINT_ flags: bodies compared by meaning */
    apr_array_header_t *headers; /* const char *; NULL: none */
} idem_print_parts_t;

/** Per directory. */
typedef struct {
    int engine;
    int admin; /* the status handler may show all, and release keys */
    int require_key;
    int syntax; /* idem_key_syntax_t */
    int rerun_unknown;
    int bypass;
    int stream; /* pass bytes on while they are recorded */
    int key_len_max;
    apr_interval_time_t key_age_max; /* 0: any */
    apr_interval_time_t ttl;
    apr_interval_time_t tombstone; /* 0: none */
    apr_interval_time_t wait;      /* for the first to end; 0: refuse */
    apr_off_t response_max;
    apr_off_t body_max; /* 0: LimitRequestBody alone */
    ap_regex_t *key_pattern;
    const char *marker; /* "": none */
    const char *problem_base;
    apr_array_header_t *methods;   /* const char * */
    apr_array_header_t *sources;   /* idem_source_t */
    apr_array_header_t *keep;      /* const char *: fields to record too */
    apr_array_header_t *drop;      /* const char *: fields not to record */
    apr_array_header_t *principal; /* idem_principal_t */
    idem_print_parts_t *print;
    idem_status_set_t *release;
    int problem_status[IDEM_PROBLEM_COUNT]; /* 0: the usual one */
} idem_dir_conf_t;

/** Per server; the store is the main server's. */
typedef struct {
    const char *host;       /* stable name of the virtual host */
    apr_uint32_t host_sum;  /* a digest of it */
    const char *label;      /* ServerName and port, for people */
    int quota;              /* percent of the store; 0: no limit */
    struct idem_row_t *row; /* where it is counted; NULL: nowhere */
} idem_srv_conf_t;

/** Server-wide, reset at each reading of the configuration. */
typedef struct {
    const char *store_path; /* NULL: none, memory only */
    apr_size_t store_size;
    int store_sync;
    int store_path_set;
    const char *provider_name; /* NULL: the built-in store */
    const idem_store_provider_t *provider;
    void *provider_conf;    /* made by its option() */
    apr_off_t response_max; /* the largest IdempotencyMaxResponse; 0: unset */
    const char *audit;      /* file, or '|' and program; NULL: none */
    int audit_keys;         /* key texts may stand in it */
    int waiters_max;        /* over all processes */
} idem_global_conf_t;

extern idem_global_conf_t idem_global;
extern const command_rec idem_config_cmds[];

void idem_config_reset(apr_pool_t *pconf);
void idem_config_reset_store(void);
void *idem_config_create_dir(apr_pool_t *pool, char *dir);
void *idem_config_merge_dir(apr_pool_t *pool, void *base, void *add);
void *idem_config_create_srv(apr_pool_t *pool, server_rec *s);
void *idem_config_merge_srv(apr_pool_t *pool, void *base, void *add);

/**
 * The directory's settings with every default filled in.
 * @return NULL if the request is not covered, or plainly has no key and needs
 *         none
 */
const idem_dir_conf_t *idem_config_get(request_rec *r);

/** IdempotencyPrincipal of a virtual host, outside of its sections. */
const apr_array_header_t *idem_config_principal(const server_rec *s);

/* -------------------------------------------------------------- results */

/** What became of a request: counters, environment and log share the word. */
typedef enum {
    IDEM_RESULT_EXECUTED,
    IDEM_RESULT_RELEASED,
    IDEM_RESULT_REPLAYED,
    IDEM_RESULT_BYPASSED,
    IDEM_RESULT_PROBLEM, /* + idem_problem_t */
    IDEM_RESULT_COUNT = IDEM_RESULT_PROBLEM + IDEM_PROBLEM_COUNT
} idem_result_t;

const char *idem_result_str(int result);

/* --------------------------------------------------------------- server */

/** The store of this server; NULL if it could not be opened. */
extern idem_store_t *idem_server_store;

void idem_server_pre_config(apr_pool_t *pconf);
int idem_server_post_config(apr_pool_t *pconf, server_rec *s);
void idem_server_child_init(apr_pool_t *pchild, server_rec *s);
void idem_server_child_status(pid_t pid);

/** The built-in store, idem_server_shm.c; only for idem_server.c. */
void idem_server_shm_pre_config(apr_pool_t *pconf);
/** Did another version of this module open it, before a restart loaded this
 *  one? Old children may still work in it. */
int idem_server_shm_is_foreign(apr_pool_t *pool);
/** Did an earlier start or restart of this server open it? */
int idem_server_shm_is_open(apr_pool_t *pool);
/** @return NULL if it could not be opened, which was logged */
idem_store_t *idem_server_shm_open(server_rec *s, apr_pool_t *pconf);
apr_status_t idem_server_shm_child_init(idem_store_t *store,
                                        apr_pool_t *pchild);
void idem_server_shm_child_died(idem_store_t *store, pid_t pid);

/* -------------------------------------------------------------- request */

typedef enum {
    IDEM_STATE_OPEN,      /* body read, nothing claimed */
    IDEM_STATE_RECORDING, /* claimed, the handler runs */
    IDEM_STATE_SETTLED    /* the store knows the result, or has no part */
} idem_state_t;

/** One client request with all its internal redirects: on the main pool. */
typedef struct {
    idem_state_t state;
    request_rec *first; /* head of the redirect chain */
    apr_pool_t *pool;
    const idem_dir_conf_t *conf; /* as it was when the key was claimed */
    const idem_srv_conf_t *srv;
    const char *key;
    idem_digest_t id;
    idem_digest_t print;
    idem_token_t token;
    int counted;              /* a result was counted */
    int looked;               /* what the first claim found was counted */
    apr_uint64_t claim_began; /* see idem_numbers_clock() */
    int result; /* the last one, if counted: what became of the request */
    int owed;   /* settling failed: the claim still stands */

    /* request body, set aside for the handler */
    int body_read;
    apr_off_t body_len;
    apr_bucket_brigade *body;
    int body_asked;       /* a handler has begun to read it */
    const char *body_key; /* what the sources in it say */
    int body_which;       /* the source that says it */
    const char *body_why;
    apr_status_t body_rv;

    /* recorder */
    ap_filter_t *active; /* the only valid recorder */
    apr_bucket_brigade *answer;
    idem_seen_t seen;
    int client_gone; /* at any time: told again before sending */
    idem_path_t path;
    int error_status;         /* of an error page: what it stands for */
    int streaming;            /* bytes are passed on */
    int head_sent;            /* while streaming */
    apr_bucket_brigade *held; /* streaming: what waits for the commit */
    idem_blob_t head;         /* of the record, made when streaming began */
    int release_asked;        /* by the application */
    apr_interval_time_t term; /* asked by the application; 0: none */
    apr_table_t *base_out;    /* both tables as they were at the claim */
    apr_table_t *base_err;

    /* back ends: see idem_reached.c and idem_proxy_watch() */
    int unreached;   /* it was logged that the last one did not get this */
    int proxy_tried; /* mod_proxy has tried one */
    int proxy_answered;
    const request_rec *watched;
    int watched_fields;
    const char *watched_type;

    /* audit log */
    idem_digest_t principal;
    int has_principal;
    const char *original_id;  /* UNIQUE_ID of the request that ran; or NULL */
    apr_time_t original_time; /* 0: none is told of */
} idem_ctx_t;

idem_ctx_t *idem_ctx_get(request_rec *r);
idem_ctx_t *idem_ctx_create(request_rec *r, const idem_dir_conf_t *conf);

/** Tell result and key to log formats and handlers; count it once. */
void idem_ctx_result(idem_ctx_t *ctx, request_rec *r, int result);

/** Short text for log lines that identifies a record, never the key. */
const char *idem_ctx_short_id(const idem_ctx_t *ctx);

/** Is the first request's method covered, and is this its real handler? */
int idem_request_is_covered(request_rec *r, const apr_array_header_t *methods);

/** Is it for mod_cgi or mod_cgid? */
int idem_request_is_cgi(const request_rec *r);

/** The request that the client sent. */
request_rec *idem_request_first(request_rec *r);

/**
 * The key of a request, by the first of its sources that is present.
 * @param why  out: for the client, if it is unusable
 * @param ctx  what the body says; NULL while it was not read
 * @return APR_SUCCESS, APR_NOTFOUND if there is none, APR_EINVAL;
 *         APR_INCOMPLETE if only the body can tell
 */
apr_status_t idem_request_key(const char **key, const char **why,
                              request_rec *r, const idem_dir_conf_t *conf,
                              const idem_ctx_t *ctx);

/** For a client without a key: where this service looks for one. */
const char *idem_request_missing(const idem_dir_conf_t *conf,
                                 apr_pool_t *pool);

/**
 * May a key with this time in it still be used? Keys without a time may.
 * @param why  out: for the client
 * @return APR_SUCCESS; APR_TIMEUP if it is too old; APR_EINVAL if it is of
 *         the future
 */
apr_status_t idem_request_key_age(const char **why, const char *key,
                                  const idem_dir_conf_t *conf);

/** Virtual host, principal and key -> id of the record. */
apr_status_t idem_request_id(idem_ctx_t *ctx, request_rec *r);

/** Virtual host and principal -> digest. */
apr_status_t idem_request_principal(idem_digest_t *digest,
                                    const idem_ctx_t *ctx, request_rec *r);

/**
 * Read the body, set it aside and take the fingerprint.
 * @param too_large  out: the body is over IdempotencyMaxRequestBody
 * @return OK, or the HTTP status to return; then nothing else may be sent
 */
int idem_body_read(idem_ctx_t *ctx, request_rec *r, int *too_large);

#define IDEM_WAIT_SLOTS 4096 /* upper bound of IdempotencyMaxWaiters */

/** A request that waits for the first with its key. Starts as all zero. */
typedef struct {
    int slot; /* of the table of waiters, + 1; 0: not waiting */
    apr_time_t until;
    apr_interval_time_t nap;
} idem_wait_t;

/** In post_config. @return 0 if there is no memory to share */
int idem_wait_open(server_rec *s);

/**
 * Wait a little, if that is allowed and makes sense.
 * @return 1: claim again; 0: wait no more
 */
int idem_wait_more(idem_wait_t *wait, const idem_ctx_t *ctx, request_rec *r);
void idem_wait_end(idem_wait_t *wait);

/** How many wait now, in all processes. @param most  out: how many may */
int idem_wait_count(int *most);

/** In the parent: a child is gone, and with it its waiters. */
void idem_wait_child_died(pid_t pid);

/** Put the body before the handler of this request of the chain. */
void idem_body_give(idem_ctx_t *ctx, request_rec *r);

/** Filters; called from register_hooks. */
void idem_body_register(void);
void idem_capture_register(void);

/** Start recording after a claim; and again on each redirected request. */
void idem_capture_start(idem_ctx_t *ctx, request_rec *r);
void idem_capture_add(idem_ctx_t *ctx, request_rec *r);

/** An error page begins, made by httpd from a status. */
void idem_capture_error_page(idem_ctx_t *ctx, request_rec *r);

/** The request ends: settle what has no answer. */
void idem_capture_end(idem_ctx_t *ctx, request_rec *r);

/** Send a record, or a problem. @return what the handler has to return */
int idem_replay(idem_ctx_t *ctx, request_rec *r, const idem_blob_t *blob);
int idem_refuse(idem_ctx_t *ctx, request_rec *r, idem_problem_t problem,
                const char *detail, const idem_record_t *record);

/**
 * May a back end have been given this request, though httpd answers 503? The
 * handler of the request is looked at, and what was logged.
 */
int idem_reached(const idem_ctx_t *ctx, const request_rec *r);
void idem_reached_register(void);

/** Is it, or was it, for mod_proxy? */
int idem_proxy_is(const request_rec *r);

/**
 * Called before each handler, and before an error page of the same request
 * is made. An error page takes the place of what a back end sent, or stands
 * for one that sent nothing: ctx->proxy_answered tells whether the handler
 * before has left anything of an answer's head.
 */
void idem_proxy_watch(idem_ctx_t *ctx, request_rec *r);

/**
 * The status that an error page of mod_proxy stands for: an ErrorDocument on
 * another server makes a 302 of each. Where several have the same, it was
 * 502, or if the back end has answered, 302 remains.
 */
int idem_proxy_status(const idem_ctx_t *ctx, request_rec *r);

/** Hook into mod_proxy, if it is loaded; in pre_config. */
void idem_proxy_register(void);

/** mod_status section. */
int idem_status_hook(request_rec *r, int flags);

#endif /* IDEM_HTTPD_H */

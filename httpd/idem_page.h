/* idem_page.h: the handler idempotency-status and its faces.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef IDEM_PAGE_H
#define IDEM_PAGE_H

#include "idem_out.h"
#include "idem_view.h"

#define IDEM_PAGE_HANDLER "idempotency-status"

/** Answers requests that SetHandler gives to idempotency-status. */
int idem_page_handler(request_rec *r);

/** Does this request go to that handler? */
int idem_page_is_ours(const request_rec *r);

/**
 * A refusal of ours: JSON that says what is wrong, and what would work.
 * @param works  an example; NULL: there is none
 * @return what the handler has to return
 */
int idem_page_error(request_rec *r, int status, const char *detail,
                    const char *works);

/** Begin an answer of JSON; the writer is on r->pool. */
void idem_page_json_begin(idem_out_t *out, request_rec *r);

/** The faces: body and type of the answer. */
void idem_page_json(request_rec *r, const idem_view_t *view);
void idem_page_html(request_rec *r, const idem_view_t *view);
void idem_page_metrics(request_rec *r, const idem_view_t *view);

#endif /* IDEM_PAGE_H */

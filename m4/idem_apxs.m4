# idem_apxs.m4: finds apxs and asks it everything, once.
# SPDX-License-Identifier: Apache-2.0
#
# IDEM_CHECK_APXS
#   sets APXS, HTTPD, HTTPD_CPPFLAGS, HTTPD_MODULEDIR, APR_CPPFLAGS, APR_LIBS
AC_DEFUN([IDEM_CHECK_APXS], [
  AC_ARG_WITH([apxs],
    [AS_HELP_STRING([--with-apxs=PATH], [the apxs of the httpd to build for])],
    [APXS=$withval],
    [AC_PATH_PROGS([APXS], [apxs apxs2], [no],
                   [$PATH:/usr/sbin:/usr/local/apache2/bin])])
  AS_IF([test "x$APXS" = xno || test ! -x "$APXS"],
    [AC_MSG_ERROR([no apxs: install apache2-dev or httpd-devel, or name it with --with-apxs=/path/to/apxs])])

  httpd_include=`$APXS -q INCLUDEDIR`
  HTTPD_MODULEDIR=`$APXS -q LIBEXECDIR`
  HTTPD=`$APXS -q SBINDIR`/`$APXS -q PROGNAME`
  apr_config=`$APXS -q APR_CONFIG`
  apu_config=`$APXS -q APU_CONFIG`
  AS_IF([test ! -x "$apr_config"],
    [AC_MSG_ERROR([apxs names '$apr_config' as its apr-1-config, which does not exist])])

  # System headers: their macros are not ours to warn about.
  APR_CPPFLAGS="`$apr_config --cppflags` -isystem `$apr_config --includedir`"
  HTTPD_CPPFLAGS="-isystem $httpd_include"
  AS_IF([test -x "$apu_config"],
    [HTTPD_CPPFLAGS="$HTTPD_CPPFLAGS -isystem `$apu_config --includedir`"])
  APR_LIBS="`$apr_config --link-ld --libs`"
  AC_SUBST([APXS])
  AC_SUBST([HTTPD])
  AC_SUBST([HTTPD_CPPFLAGS])
  AC_SUBST([HTTPD_MODULEDIR])
  AC_SUBST([APR_CPPFLAGS])
  AC_SUBST([APR_LIBS])
])

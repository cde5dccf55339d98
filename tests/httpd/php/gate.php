<?php
// gate.php: a script that includes it stands still until the test opens its
// gate, as the back end does.
// SPDX-License-Identifier: Apache-2.0
$gate = $_SERVER['IDEM_COUNTS'] . '/' . basename($_GET['t']) . '.gate';
for ($n = 0; $n < 1000 && !file_exists($gate); $n++) {
    usleep(10000);
    clearstatcache();
}

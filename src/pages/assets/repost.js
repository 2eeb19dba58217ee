// Sends the form once more from our own origin. The prototype's method, because a field may be called "submit".
"use strict";
HTMLFormElement.prototype.submit.call(document.getElementById("repost"));

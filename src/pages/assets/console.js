// Everything works without this file.
'use strict';

// A sentence about what was done a moment ago is said once: reloading the page must not say it again.
const here = new URL(location.href);
if (here.searchParams.has('said')) {
  for (const name of ['said', 'n']) here.searchParams.delete(name);
  history.replaceState(null, '', here);
}

// Read aloud and scrolled to, where something went wrong.
document.querySelector('.notice.bad')?.focus();

// A second click sends nothing: the first form is on its way.
for (const form of document.querySelectorAll('form[method="post"]')) {
  form.addEventListener('submit', (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = 'yes';
  });
}
addEventListener('pageshow', () => {
  for (const form of document.querySelectorAll('form[data-sent]')) delete form.dataset.sent;
});

// What is there to be copied can be copied by a button.
for (const area of document.querySelectorAll('textarea[data-copy]')) {
  if (!navigator.clipboard) break;
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'button other';
  button.textContent = 'Copy';
  button.addEventListener('click', async () => {
    await navigator.clipboard.writeText(area.value);
    button.textContent = 'Copied';
  });
  area.after(button);
}

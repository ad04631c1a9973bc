# The R profile of `ppmproxy exec` and `ppmproxy env`, which R_PROFILE_USER names: the person's own profile, then the
# proxy's repositories. Its values come from variables. Do not edit it; `ppmproxy configure r` writes to your own.

local({
  own <- Sys.getenv("_PPMPROXY_R_PROFILE")
  this <- Sys.getenv("R_PROFILE_USER")
  if (nzchar(own)) Sys.setenv(R_PROFILE_USER = own) else Sys.unsetenv("R_PROFILE_USER") # renv may source it once more
  on.exit(Sys.setenv(R_PROFILE_USER = this))
  found <- Filter(file.exists, if (nzchar(own)) own else c(".Rprofile", "~/.Rprofile"))
  if (length(found)) try(source(found[[1L]], print.eval = TRUE))
})

local({
  named <- Sys.getenv("_PPMPROXY_R_CRAN")
  chooses <- nzchar(named)
  choose <- function(repos) {
    if (chooses) repos["CRAN"] <- named
    repos
  }
  real <- strsplit(Sys.getenv("_PPMPROXY_R_REAL"), " ", fixed = TRUE)[[1L]]
  here <- strsplit(Sys.getenv("_PPMPROXY_R_LOCAL"), " ", fixed = TRUE)[[1L]]
  # --- also in the .Rprofile that `ppmproxy configure r` has written ---

  # URLs below one prefix, moved below another one.
  moved <- function(value, from, to) {
    if (is.list(value)) value[] <- lapply(value, moved, from, to)
    if (!is.character(value)) return(value)
    plain <- sub("^(https?:)//(?:[^/@]*@)?([^/]+)", "\\L\\1//\\2", value, perl = TRUE, ignore.case = TRUE)
    plain <- sub("^(https://[^/]+):443/", "\\1/", plain)
    for (one in order(-nchar(from))) {
      below <- which(startsWith(plain, from[one]))
      value[below] <- plain[below] <- paste0(to[one], substring(plain[below], nchar(from[one]) + 1L))
    }
    value
  }
  leads_here <- function(urls) vapply(urls, function(url) any(startsWith(url, here)), NA)

  repos <- choose(moved(unlist(getOption("repos")), real, here))
  options(repos = repos, BioC_mirror = moved(getOption("BioC_mirror"), real, here))
  has_override <- nzchar(Sys.getenv("RENV_CONFIG_REPOS_OVERRIDE"))
  in_project <- nzchar(Sys.getenv("RENV_PROJECT")) # renv has loaded it, with the repositories of its renv.lock
  if (chooses) Sys.setenv(PKG_CRAN_MIRROR = repos[["CRAN"]])
  if (chooses && !in_project && !has_override) Sys.setenv(RENV_CONFIG_REPOS_OVERRIDE = repos[["CRAN"]])
  if (in_project && !has_override && any(leads_here(repos))) options(renv.config.repos.override = repos)

  # Package Manager has binaries for Linux where the user agent names the version of R; R's own default is not sent.
  agent <- getOption("HTTPUserAgent")
  if (startsWith(R.version$os, "linux") && (is.null(agent) || startsWith(agent, "R ("))) {
    about <- paste(getRversion(), R.version$platform, R.version$arch, R.version$os)
    agent <- sprintf("R/%s R (%s)", getRversion(), about)
    options(HTTPUserAgent = agent)
    extra <- getOption("download.file.extra")
    if (isTRUE(getOption("download.file.method") %in% c("curl", "wget")) && !any(grepl("user-agent|-[AU] ", extra)))
      options(download.file.extra = c(extra, paste("--user-agent", shQuote(agent))))
  }

  # What others read records the Package Manager's own URLs: renv.lock, and the manifest.json of rsconnect.
  recorders <- list(renv = c("renv_lockfile_init_r_repos", "renv_lockfile_create"), rsconnect = "createAppManifest")
  record_real <- function(package, ...) {
    space <- asNamespace(package)
    for (name in Filter(function(name) exists(name, space, inherits = FALSE), recorders[[package]])) local({
      original <- get(name, space)
      unlockBinding(name, space)
      assign(name, function(...) moved(original(...), here, real), space)
      lockBinding(name, space)
    })
  }
  for (package in names(recorders))
    if (isNamespaceLoaded(package)) record_real(package) else setHook(packageEvent(package, "onLoad"), record_real)
})

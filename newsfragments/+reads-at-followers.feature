Followers answer default and consistent reads themselves, after asking the leader up to where they need the log; many reads share one question.

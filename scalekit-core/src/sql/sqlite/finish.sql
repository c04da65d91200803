-- Stores the answer with the claim, once.
-- ?1 id blob(32)  ?2 status integer  ?3 head blob  ?4 body blob or null  ?5 after_commit blob or null
update scalekit_claim set status = ?2, head = ?3, body = ?4, after_commit = ?5
 where id = ?1 and head is null
